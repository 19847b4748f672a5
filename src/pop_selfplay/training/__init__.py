"""Preference pairs to a better model. The only room that imports torch and trl, and only once training begins.

    dpo.py       train_dpo: the whole of it, from pairs to a finished model directory
    settings.py  the paper's values in one table, a user's own on top, and what is refused
    dataset.py   which pairs are trained on: sorted, checked against the chat template and the length limits, split
    watch.py     every logged step: to metrics.jsonl, to the observer, and a stop when the loss is no number
    quiet.py     the libraries' progress bars off; ours is drawn by the observer
    outcome.py   the types that come out; no torch, so anyone may import them

From the paper: offline DPO of the best answer against the worst, reference policy = the starting model. Changed: pairs longer
than the limits are dropped and counted instead of cut, and pairs are held out by document. Another method (online RL) gets a
file beside dpo.py, a config type in `config/` and a branch in `selfplay.train`.
"""

from pop_selfplay.training.outcome import HeldOut, TrainingResult, TrainingStep

__all__ = ["HeldOut", "TrainingResult", "TrainingStep"]
