"""What a round made to a better model: the table of trainers. The only room that imports trl, and only once training begins.

    dpo.py                     offline DPO on preference pairs: the paper's way
    sft.py                     supervised fine-tuning on the chosen answers of the same pairs (rejection sampling)
    grpo*.py                   online RL: a frozen judge scores the model's new answers
    offline*.py                what DPO and SFT share, from pairs to a finished model directory
    data.py                    which pairs are trained on, as token ids
    trl_config.py              a user's fields of TRL's configs, over our values
    callbacks.py               every logged step, and the stop when a training runs the wrong way
    checkpoints.py             the hidden directory of a training, to resume from; the best weights so far
    loading.py, optimizer.py   the starting model on the hardware at hand; AdamW for weights in bf16
    export.py                  the finished model directory: LoRA merged, model card, upload
    distributed.py             several processes that train together

To add a trainer, write its settings in `config/training.py`, its class in a file here, and a line in `TRAINERS`. A package
outside of this one calls `register` instead (docs/training.md, "Your own trainer").

From the paper: offline DPO of the best answer against the worst, reference policy = the starting model. Changed: pairs longer
than the limits are dropped and counted instead of cut, pairs are held out by document, and the checkpoint that does best on
them is kept instead of the last.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from pop_selfplay.config import (
    HuggingFaceCorpus,
    ModelConfig,
    Thinking,
    Training,
    all_thinking_of,
    load_config,
    register_training,
)
from pop_selfplay.errors import UsageError
from pop_selfplay.extras import need
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.pairs import read_pairs
from pop_selfplay.models.identity import weights_of
from pop_selfplay.records import PreferencePair, Step
from pop_selfplay.results.run import TrainingFigures
from pop_selfplay.runs.session import Session, read_session

T = TypeVar("T", bound=Training)
Observe = Callable[[Step], None]
"""Called after every logged step."""


class Trainer(Protocol):
    """One way to train. It is made with its settings, the `training` of a config."""

    def train_round(self, session: Session, round_: int, start: str, out: Path) -> TrainingFigures:
        """Train the model at `start` (directory or hub name) on what `round_` made, and save it to `out`, not there yet.

        `out` must appear at once and whole: write elsewhere and rename. What is returned is kept in the journal and is
        `rounds[].training` of result.json; `OtherTraining` holds any figures. After a kill it is called again with the same
        arguments.
        """


class Origin(NamedTuple):
    """The run that a training belongs to: its domain, its corpus in words, its id and the round.

    `dataset` is the corpus's name on the hub, "" where it is not from there; `licences` counts those that documents name;
    `pairs` is the dataset repository that `pop export` has uploaded the run's pairs to, "" where it did not.
    """

    domain: str
    corpus: str
    run: str
    round: int
    dataset: str = ""
    licences: str = ""
    pairs: str = ""


class TrainerOnPairs(ABC):
    """A trainer that needs nothing but pairs, so that other models can also be trained on the pairs of a finished run.

    `thinking` is what the chat template was told in each role when its answers were asked for: prompts are rendered the same
    way.
    """

    thinking: Thinking = Thinking()

    @abstractmethod
    def train(
        self,
        pairs: Sequence[PreferencePair],
        start: str,
        out: Path,
        seed: int,
        observe: Observe | None = None,
        *,
        origin: Origin | None = None,
    ) -> TrainingFigures:
        """Train the model at `start` on `pairs` and save it to `out`, as `Trainer.train_round` says.

        `origin` is for the model card.
        """

    def train_round(self, session: Session, round_: int, start: str, out: Path) -> TrainingFigures:
        """Train on the pairs of the round."""
        pairs = pairs_of_round(session, round_)
        self.thinking = all_thinking_of(session.casting.policy(round_))
        session.observer.phase(f"round {round_}: training on {len(pairs)} pairs")
        return self.train(pairs, start, out, session.config.seed, told_to(session), origin=origin_of(session, round_))


def told_to(session: Session) -> Observe:
    """Return what tells the run of a step of its training, and notes how long that has taken so far."""

    def observe(step: Step) -> None:
        session.account.note_seconds()
        session.observer.training_step(step)

    return observe


TRAINERS: Final = {
    "dpo": "pop_selfplay.training.dpo:DPO",
    "sft": "pop_selfplay.training.sft:SFT",
    "grpo": "pop_selfplay.training.grpo:GRPO",
}
"""`training.type` → where its trainer is. Nothing is imported before it trains."""

_REGISTERED: Final[dict[str, Callable[[Any], Trainer]]] = {}


def register(settings: type[T], trainer: Callable[[T], Trainer]) -> None:
    """Let `training` of a run be of type `settings`, which `trainer` is made with.

    Raises ValueError when another type has its name.
    """
    register_training(settings)
    _REGISTERED[settings.model_fields["type"].default] = trainer


def trainer_of(training: Training) -> Trainer:
    """Return the trainer with these settings. Raises UsageError where nothing is to be trained, MissingExtra where
    its library is not installed."""
    make = _REGISTERED.get(training.type)
    if make is None and training.type in TRAINERS:
        need("train", f"training.type {training.type}")
        make = resolve_name(TRAINERS[training.type])
    if make is None:
        raise UsageError(f"training.type {training.type} trains nothing: use one of {', '.join([*TRAINERS, *_REGISTERED])}")
    return make(training)


def pairs_of_round(session: Session, round_: int) -> list[PreferencePair]:
    """Return the pairs of `round_` in the run's pairs.parquet."""
    return [pair for pair in read_pairs(session.directory.pairs_path) if pair.round == round_]


def origin_of(session: Session, round_: int) -> Origin:
    """Return what a model trained in `round_` of this run comes from. No path of this machine is in it."""
    corpus = session.config.corpus
    dataset = corpus.path if isinstance(corpus, HuggingFaceCorpus) and not Path(corpus.path).exists() else ""
    licences = Counter(document.license or "not said" for document in session.journal.documents(round_))
    said = ", ".join(f"{name} ({count:,})" for name, count in licences.most_common(_LICENCES))
    return Origin(
        session.domain.name, dataset or corpus.type, session.journal.run_id, round_, dataset, said, session.directory.uploaded
    )


_LICENCES: Final = 10
"""Most licences that a model card names."""


def train_again(
    run: Path, out: Path, round_: int = 1, overrides: Sequence[str] = (), observe: Observe | None = None
) -> TrainingFigures:
    """Train the policy of `round_` on that round's pairs in the run directory `run`, and save it to `out`.

    The run stays as it is. `overrides` are `a.b=value` settings, of the training and the seed only, so that settings and
    trainers can be compared without another synthesis. Raises ConfigError when `run` is no run, UsageError when another setting
    is changed, the round has no policy yet or the trainer needs more than pairs, and whatever the trainer raises.
    """
    directory = RunDirectory.open(run)
    if round_ > 1 and not directory.model_path(round_ - 1).is_dir():
        raise UsageError(f"--round {round_} starts from the model of round {round_ - 1}, which the run {run} does not have")
    config = load_config(run / "config.yaml", overrides)

    def found(session: Session) -> tuple[list[PreferencePair], ModelConfig, str, Origin]:
        if session.config.model_copy(update={"training": config.training, "seed": config.seed}) != config:
            raise UsageError(
                f"--set {' --set '.join(overrides)} changes more than the training: the pairs of {run} already exist, so "
                "only training.* and seed can be set; for anything else start a new run with `--fork-from`"
            )
        policy = session.casting.policy(round_)
        start = weights_of(policy)
        if start is None:
            raise UsageError(f"the model of {run} has no weights to train: its model.type is simulated")
        return pairs_of_round(session, round_), policy, start, origin_of(session, round_)

    pairs, policy, start, origin = read_session(run, found)
    trainer = trainer_of(config.training)
    if not isinstance(trainer, TrainerOnPairs):
        raise UsageError(
            f"training.type {config.training.type} cannot be trained again on the pairs of a run: it needs more than pairs; "
            "dpo and sft can"
        )
    trainer.thinking = all_thinking_of(policy)
    return trainer.train(pairs, start, out, config.seed, observe, origin=origin)
