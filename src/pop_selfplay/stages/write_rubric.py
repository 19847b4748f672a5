"""Write the rubric: what separates good from bad answers, with the document in view (method, "write rubric")."""

import re
from collections.abc import Sequence
from typing import Final

from pop_selfplay.method.parsing import RUBRIC, Parsed, Rejection, parse_rubric
from pop_selfplay.method.rubric_json import rubric_schema
from pop_selfplay.records import Candidate, Document, Failure, Problem, Role, Rubric
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.text.fencing import quote_lines
from pop_selfplay.text.words import cut_words, spread

_CITED: Final = re.compile(r"\bcandidate\s+#?\d+\b", re.IGNORECASE)


async def write_rubric(
    cast: Cast, document: Document, problem: Problem, candidates: Sequence[Candidate], round_: int
) -> Rubric | Failure:
    """Return the rubric for `problem`. Where the run shows the writer no document, it sees no reference answer either."""
    rules = cast.domain.spread
    shown = _numbered([candidate.answer for candidate in spread(candidates, rules.count)], rules.max_words)
    if cast.sees_document(Role.RUBRIC_WRITER):
        messages = cast.domain.render(
            "rubric",
            document=document.text,
            problem=problem.text,
            reference_answer=problem.reference_answer,
            candidates=shown,
        )
    else:
        messages = cast.domain.render("rubric_without_document", problem=problem.text, candidates=shown)
    bare = cast.synthesis.json_schema
    schema = rubric_schema() if bare else None
    question = Question(round_, problem.id, Role.RUBRIC_WRITER, "", messages, schema=schema, form=RUBRIC)

    def parse(completion: str) -> Parsed[Rubric] | Rejection:
        parsed = parse_rubric(completion, bare=bare)
        return parsed if isinstance(parsed, Rejection) else _refused(parsed.value) or parsed

    return await ask(cast, question, parse)


def _refused(rubric: Rubric) -> Rejection | None:
    for criterion in rubric.criteria:
        cited = _CITED.search(f"{criterion.name}\n{criterion.gold}\n{criterion.description}")
        if cited is not None:
            return Rejection("cites_candidate", f"a grader sees one answer, and does not know which was {cited[0]!r}")
    return None


def _numbered(answers: Sequence[str], max_words: int | None) -> str:
    cut = [quote_lines(answer if max_words is None else cut_words(answer, max_words)) for answer in answers]
    separator = "\n\n" if any("\n" in answer for answer in cut) else "\n"
    return separator.join(f"Candidate {number}: {answer}" for number, answer in enumerate(cut, 1))
