"""Where the rubric of a sampled answer comes from: the columns of its row, or a table of problems made beforehand.

| given | found by |
| --- | --- |
| a column `rubric` | the JSON in it; the problem is the column `problem`, else the text of the prompt |
| a run directory, or a mapping from problem ids | the column `problem_id`, else the prompt that the solver was asked with |
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from pop_selfplay.domains import Domain
from pop_selfplay.errors import UsageError
from pop_selfplay.method.json_output import folded
from pop_selfplay.records import Episode, Failure, Message, PreferencePair, Problem, Rubric, content_text
from pop_selfplay.rewards.scoring import Graded
from pop_selfplay.seeds import derive_seed
from pop_selfplay.text.characters import valid_unicode

ABOUT_THE_PAIR = ("no_spread", "length_gap")
"""Why an episode gives no pair although its problem and rubric are sound: it can still be trained on online."""


class Rubrics:
    """The problems that are known beforehand, by id and by the conversation that the solver is asked with."""

    def __init__(self, known: Iterable[Graded], domain: Domain) -> None:
        self._by_id = {graded.problem.id: graded for graded in known}
        self._by_prompt = {
            _key(_plain(domain.render("solve", problem=graded.problem.text))): graded for graded in self._by_id.values()
        }

    def find(self, prompts: Sequence[Any], columns: Mapping[str, Any]) -> list[Graded]:
        """Return problem and rubric of each sample; `columns` hold one value for each, as a trainer hands them over.

        Raises UsageError when a sample's rubric cannot be told.
        """
        count = len(prompts)
        rubrics, ids, problems, references = (
            _column(columns, name, count) for name in ("rubric", "problem_id", "problem", "reference_answer")
        )
        found = []
        for prompt, rubric, id_, problem, reference in zip(prompts, rubrics, ids, problems, references, strict=True):
            if rubric is not None:
                found.append(_given(prompt, rubric, id_, problem, reference))
                continue
            known = self._by_id.get(id_) if id_ is not None else self._by_prompt.get(_key(prompt))
            if known is None:
                raise UsageError(
                    f"no rubric for a sample (problem_id {id_!r}, prompt {_text_of(prompt)!r:.120}): give the dataset a column "
                    "rubric (pop export --format grpo writes one), or make the reward from the run that its problems come from"
                )
            found.append(known)
        return found


class Sound(NamedTuple):
    """A finished episode whose problem and rubric can be trained on."""

    episode: Episode
    graded: Graded


def sound(episodes: Iterable[tuple[Episode, PreferencePair | Failure]]) -> Iterable[Sound]:
    """Yield, of finished episodes and what pairing made of them, those that online RL can use.

    Used are all whose candidates were scored, but for what pairing drops for the problem's sake: a problem that nearly repeats
    another one, say. Candidates that are all alike are no reason: the policy that is trained will answer otherwise.
    """
    for episode, made in episodes:
        if episode.failure is not None or episode.problem is None:
            continue
        if isinstance(made, Failure) and made.reason not in ABOUT_THE_PAIR:
            continue
        yield Sound(episode, Graded(episode.problem, episode.rubric))


def _given(prompt: Any, rubric: Any, id_: Any, problem: Any, reference: Any) -> Graded:
    try:
        parsed = read_rubric(rubric)
    except (TypeError, ValueError) as error:
        what = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UsageError(
            f"column rubric is not a rubric ({what}): {rubric!r:.200}. Needed is JSON like "
            '{"criteria": [{"name": …, "description": …, "weight": 1, "gold": …}]}'
        ) from error
    text = str(problem) if problem is not None else _text_of(prompt)
    # Without an id the problem is told from others by what is asked and how it is scored.
    name = str(id_) if id_ is not None else f"{derive_seed(text, str(rubric)):016x}"
    return Graded(Problem(id=name, document_id="", text=text, reference_answer=str(reference or "")), parsed)


def read_rubric(value: Any) -> Rubric | None:
    """Return the rubric in plain data or JSON text: {"criteria": […]}, or the list alone. None where it is empty.

    Raises ValueError, as ValidationError for a field of it, where it is none: not even where two criteria share a name.
    """
    data = json.loads(value) if isinstance(value, str) and value.strip() else value
    if data is None or data == [] or isinstance(data, str):  # the exports write "" where answers are verified
        return None
    rubric = Rubric.model_validate({"criteria": data} if isinstance(data, list) else data)
    names = [criterion.name for criterion in rubric.criteria]
    if len(set(map(folded, names))) < len(names):
        raise ValueError(f"two criteria have the same name: {names}")
    return rubric


def _column(columns: Mapping[str, Any], name: str, count: int) -> Sequence[Any]:
    values = columns.get(name)
    return values if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count else [None] * count


def _plain(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _key(prompt: Any) -> str:
    """Return what two equal conversations, or two equal texts, have in common."""
    return (
        prompt if isinstance(prompt, str) else "\0".join(f"{turn['role']}\0{content_text(turn['content'])}" for turn in prompt)
    )


def _text_of(prompt: Any) -> str:
    if isinstance(prompt, str):
        return valid_unicode(prompt)
    return valid_unicode(next((content_text(turn["content"]) for turn in reversed(prompt) if turn["role"] == "user"), ""))
