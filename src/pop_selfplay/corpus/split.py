"""Which documents each round of a run works on. The run and its plan (`--dry-run`) split a corpus by the same function."""

from itertools import islice
from typing import NamedTuple

from pop_selfplay.config import RunConfig, SelfJudgedMeasure
from pop_selfplay.corpus.reader import read_documents
from pop_selfplay.corpus.sampling import ChosenDocuments, choose
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
        raise CorpusError(_too_few(config, choice, held_out))
    return SplitDocuments(rounds, dict(choice.dropped))


def _too_few(config: RunConfig, choice: ChosenDocuments, held_out: int) -> str:
    """Return why the last round gets nothing: what there is, what was lost to what, and which settings would do."""
    rounds, wanted = config.rounds, config.synthesis.documents
    played = "1 round" if rounds == 1 else f"{rounds} rounds"
    fewer_held_out = min(held_out, max(1, choice.available // 5))
    each = (choice.available - fewer_held_out) // rounds
    fit = [f"measure.documents to {fewer_held_out}"] if fewer_held_out < held_out else []
    fit += [f"synthesis.documents to {each}"] if rounds > 1 else []
    ways = [f"lower {' and '.join(fit)}"] if each else []
    ways += choice.losses.advice(config.filter, held_out + (rounds - 1) * wanted + 1 - choice.available)
    asked = f"{played} of {wanted} and {held_out} held out for measurement"
    do = ", or ".join(["add documents", *ways])
    lines = [f"the corpus has {choice.available} usable documents, too few for {asked}: {do}"]
    if choice.dropped:
        lines += [f"of {choice.read} texts {choice.read - choice.available} cannot be used:", *choice.losses.lines()]
    return "\n  ".join(lines)
