"""Preference pairs to a better model. The only room that imports torch and trl, and only once training begins.

    dpo.py           train_dpo: the whole of it, from pairs to a finished model directory
    settings.py      the paper's values in one table, a user's own on top, and what is refused
    dataset.py       which pairs are trained on: sorted, checked against the length limits, split
    tokens.py        one pair as token ids
    trainer.py       TRL's trainer with our tokens, our held-out figures and our optimiser
    unpadded.py      passes without padding
    watch.py         every logged step: to metrics.jsonl, to the observer, and a stop when it runs the wrong way
    divergence.py    the rules for that
    again.py         another model from the pairs of a run, with other settings

Online, by a judge:

    grpo.py          train_grpo: the whole of it, from problems with rubrics to a finished model directory
    grpo_settings.py our values, a user's own on top, and what is refused
    grpo_trainer.py  TRL's trainer, which goes on to the very same end
    grpo_watch.py    every logged step and every sampled answer
    rollout.py       sampling
    judging.py       the judge, and the reward function that asks it

For every kind of training:

    outcome.py       the types that come out; no torch, so anyone may import them
    fields.py        a user's fields of TRL's configs
    starting.py      the starting model's tokenizer, precision and processor share
    hardware.py      precision, attention, kernels and quantisation for the hardware at hand
    lora.py          small matrices beside the weights, and how they are merged
    adamw.py         the optimiser for weights in bf16
    processes.py     several processes that train together
    unfinished.py    the hidden directory of a training, its checkpoints, and how it becomes the finished one
    keeping.py       the last checkpoint and the best weights
    saving.py        weights to a model directory
    card.py          the model card
    hub.py           upload
    quiet.py         the libraries' progress bars off; ours is drawn by the observer

From the paper: offline DPO of the best answer against the worst, reference policy = the starting model. Changed: pairs longer
than the limits are dropped and counted instead of cut, pairs are held out by document, and the checkpoint that does best on
them is kept instead of the last. Another method gets a file beside dpo.py, a config type in `config/` and a branch in
`selfplay.train`.
"""

from pop_selfplay.results.training import HeldOut, OnlineResult, TrainingResult

__all__ = ["HeldOut", "OnlineResult", "TrainingResult"]
