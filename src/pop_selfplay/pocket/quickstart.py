"""The run that `pop quickstart` plays: the pocket model on the pocket world. `configs/pocket.yaml` is that run as a file."""

from typing import Final

from pop_selfplay.config import (
    DocumentFilter,
    DPOTraining,
    ExamMeasure,
    JudgeSampling,
    PocketCorpus,
    PocketModel,
    RubricWriterSampling,
    RunConfig,
    Sampling,
    Synthesis,
)
from pop_selfplay.records import Role

EDITIONS: Final = 6  # articles per plant and round, each in other words
PLANTS: Final = 100
# Far above the paper's 1e-6 and 0.01: a model of a million parameters needs larger steps and a firmer anchor than one of seven
# billion. benchmarks/results/pocket_dpo.json holds what was tried: faster rates gain more on the plants of the documents, and
# lose more on all others.
DPO: Final = {"learning_rate": 1e-4, "beta": 0.1, "num_train_epochs": 3}


def quickstart_config(*, seed: int = 5, rounds: int = 1, document: bool = True) -> RunConfig:
    """Return the quickstart's config; `document` False hides the documents from proposer and rubric writer."""
    return RunConfig(
        domain="pocket",
        corpus=PocketCorpus(editions=EDITIONS * rounds),
        model=PocketModel(),
        seed=seed,
        rounds=rounds,
        filter=DocumentFilter(min_words=5),
        synthesis=Synthesis(
            documents=EDITIONS * PLANTS,
            candidates=8,
            scoring="per_criterion",
            share_identical=True,
            document_for=[Role.PROPOSER, Role.RUBRIC_WRITER] if document else [],
            episodes_in_flight=EDITIONS * PLANTS,
            proposer=Sampling(max_tokens=128, attempts=3),
            solver=Sampling(max_tokens=64, attempts=2),
            rubric_writer=RubricWriterSampling(max_tokens=128, attempts=3),
            judge=JudgeSampling(max_tokens=64, attempts=2),
        ),
        training=DPOTraining(dpo=DPO),
        measure=ExamMeasure(),
    )
