"""One call for a DPO training, as most tests here make it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pop_selfplay.config import DPOTraining
from pop_selfplay.records import PreferencePair
from pop_selfplay.results.run import TrainingResult
from pop_selfplay.training.data import PairSplit, TokenPair
from pop_selfplay.training.dpo import DPO, PairTrainer
from pop_selfplay.training.loading import load_tokenizer
from pop_selfplay.training.offline import Job
from pop_selfplay.training.trl_config import Settings, quiet_libraries


def train_dpo(
    pairs: Sequence[PreferencePair],
    start: str,
    out: Path,
    config: DPOTraining,
    seed: int,
    observe: Callable[[Any], None] | None = None,
) -> TrainingResult:
    result = DPO(config).train(pairs, start, out, seed, observe)
    assert isinstance(result, TrainingResult)
    return result


def dpo_trainer(
    pairs: list[PreferencePair], start: str, out: Path, config: DPOTraining, tokenizer: Any = None
) -> tuple[PairTrainer, PairSplit[TokenPair]]:
    """Return TRL's trainer of these pairs, and the pairs as it has them."""
    dpo, settings = DPO(config), Settings.of(config, DPO.defaults)
    job = Job(pairs, start, out, config, 1, None)
    tokenizer = tokenizer or load_tokenizer(start, settings.hub)
    chosen = dpo.choose(job, tokenizer, settings)
    with quiet_libraries():
        trainer: PairTrainer = dpo.make_trainer(chosen, job, tokenizer, settings, out)
    return trainer, chosen
