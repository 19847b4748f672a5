"""Train another model on the pairs of a run, with other settings: for sweeps, without another synthesis.

The run itself stays as it is: nothing is written to it, and it may be finished. The new model goes to a directory of its own.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from pop_selfplay.config import DPOTraining, load_config
from pop_selfplay.errors import UsageError
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.export import read_pairs
from pop_selfplay.records import PreferencePair
from pop_selfplay.session import Session, read_session, weights_of
from pop_selfplay.training.card import Origin, origin_of
from pop_selfplay.training.dpo import train_dpo
from pop_selfplay.training.outcome import TrainingResult, TrainingStep


def train_again(
    run: Path,
    out: Path,
    round_: int = 1,
    overrides: Sequence[str] = (),
    observe: Callable[[TrainingStep], None] | None = None,
) -> TrainingResult:
    """Train the policy of `round_` on that round's pairs in the run directory `run`, and save it to `out`.

    `overrides` are `a.b=value` settings, of the training and the seed only. Raises ConfigError when `run` is no run, UsageError
    when another setting is changed, the round has no policy yet or the training is not offline DPO, and whatever `train_dpo`
    raises.
    """
    directory = RunDirectory.open(run)
    if round_ > 1 and not directory.model_path(round_ - 1).is_dir():
        raise UsageError(f"--round {round_} starts from the model of round {round_ - 1}, which the run {run} does not have")
    config = load_config(run / "config.yaml", overrides)
    training = config.training

    def found(session: Session) -> tuple[list[PreferencePair], str, Origin]:
        if session.config.model_copy(update={"training": training, "seed": config.seed}) != config:
            raise UsageError(
                f"--set {' --set '.join(overrides)} changes more than the training: the pairs of {run} are made already, so "
                "only training.* and seed can be set; for anything else give a new run `--fork-from`"
            )
        start = weights_of(session.policy(round_))
        if start is None:
            raise UsageError(f"the model of {run} has no weights that could be trained: its model.type is simulated")
        pairs = [pair for pair in read_pairs(session.directory.pairs_path) if pair.round == round_]
        return pairs, start, origin_of(session, round_)

    pairs, start, origin = read_session(run, found)
    if not isinstance(training, DPOTraining):
        raise UsageError(f"training.type {training.type} cannot be trained again on the pairs of a run: only dpo can")
    return train_dpo(pairs, start, out, training, config.seed, observe, origin=origin)
