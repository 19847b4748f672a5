"""Which documents each round of a run works on. The run and its plan (`--dry-run`) split a corpus by the same function."""

from itertools import islice
from typing import NamedTuple

from pop_selfplay.config import RunConfig, SelfJudgedMeasure
from pop_selfplay.corpus.reader import read_documents
from pop_selfplay.corpus.sampling import choose
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document


class SplitDocuments(NamedTuple):
    """`rounds[0]` are the documents held out for measurement, `rounds[k]` those of round k; `dropped` counts by reason."""

    rounds: list[list[Document]]
    dropped: dict[str, int]


def split_documents(config: RunConfig) -> SplitDocuments:
    """Read the corpus of `config` and choose the documents of every round; the last one may get fewer than it asks for.

    Raises CorpusError when nothing is left for the last round.
    """
    measured = config.applied_measure
    held_out = measured.documents if isinstance(measured, SelfJudgedMeasure) else 0
    counts = [held_out, *[config.synthesis.documents] * config.rounds]
    choice = choose(read_documents(config.corpus), seed=config.seed, count=sum(counts), filter=config.filter)
    documents = iter(choice.documents)
    rounds = [list(islice(documents, count)) for count in counts]
    if not rounds[-1]:
        played = "1 round" if config.rounds == 1 else f"{config.rounds} rounds"
        lower = "measure.documents" if config.rounds == 1 else "synthesis.documents, rounds or measure.documents"
        raise CorpusError(
            f"the corpus has {choice.available} usable documents, too few for {played} of "
            f"{config.synthesis.documents} and {held_out} held out for measurement: add documents or lower {lower}"
        )
    return SplitDocuments(rounds, dict(choice.dropped))
