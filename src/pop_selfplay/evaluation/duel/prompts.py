"""What a duel asks: rows of a file, or problems of a run.

A file has one prompt in each row (.jsonl, .json, .csv, .parquet; each line of a .txt is one). Fields:

| field | what |
| --- | --- |
| `prompt` | the request: a text, or a list of messages with role and content |
| `id` | optional; by default the number of the row |
| `rubric` | optional: criteria with name, description, weight and gold; a list, `{"criteria": …}`, or JSON text of either |
| `difficulty` | optional: a number, for the length-controlled win rate |
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import Synthesis, complaints
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks.base import read_file
from pop_selfplay.records import Message, Rubric, content_text
from pop_selfplay.rewards.scoring import read_rubric
from pop_selfplay.runs.session import Session, read_session
from pop_selfplay.text.fencing import valid_unicode

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])


@dataclass(frozen=True)
class DuelPrompt:
    """One thing to ask both models. `text` is what the judge is shown of it; `tagged` answers stand in `<answer>`."""

    id: str
    messages: tuple[Message, ...]
    text: str
    rubric: Rubric | None = None
    difficulty: float | None = None
    tagged: bool = False


@dataclass(frozen=True)
class Questions:
    """The prompts of a duel; `domain` and `synthesis` are the run's where they come from a run."""

    prompts: Sequence[DuelPrompt]
    source: str
    domain: Domain | None = None
    synthesis: Synthesis | None = None


def some_of(questions: Questions, limit: int | None, seed: int) -> Questions:
    """Return `limit` of the prompts, drawn by `seed`, in their order; all where there are no more, or no limit."""
    if limit is None or limit >= len(questions.prompts):
        return questions
    places = sorted(random.Random(seed).sample(range(len(questions.prompts)), limit))
    return replace(questions, prompts=[questions.prompts[place] for place in places])


def read_prompts(path: Path) -> Questions:
    """Return the prompts of a file. Raises ConfigError that names the first row that is none."""
    if path.suffix == ".txt":
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
        except OSError as error:
            raise ConfigError(f"cannot read prompts {path}: {error.strerror}; check the name") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"prompts {path} are not UTF-8 text ({error}): save them as UTF-8") from error
        rows: Sequence[Mapping[str, Any]] = [{"prompt": line} for line in lines if line]
    else:
        rows = read_file(path)
    prompts = [_prompt(row, number, path) for number, row in enumerate(rows, 1)]
    if not prompts:
        raise ConfigError(f"{path} has no prompts")
    if len({prompt.id for prompt in prompts}) < len(prompts):
        raise ConfigError(f"{path} has two prompts with the same id: ids must differ")
    return Questions(prompts, str(path))


def problems_of_run(path: Path, round_: int = 0) -> Questions:
    """Return the problems of a round of a run, by default the held-out ones of its self-judged measure, with their rubrics.

    Raises UsageError when there are none.
    """

    def read(session: Session) -> Questions:
        domain = session.domain
        prompts = [
            DuelPrompt(e.id, domain.render("solve", problem=e.problem.text), e.problem.text, e.rubric, tagged=True)
            for e in session.journal.episodes(round_)
            if e.problem is not None and e.failure is None
        ]
        return Questions(prompts, f"{path}, round {round_}", domain, session.config.synthesis)

    questions = read_session(path, read)
    if not questions.prompts:
        held_out = "held-out problems: those come with measure.type self_judged" if round_ == 0 else "problems in that round"
        raise UsageError(f"the run {path} has no {held_out}; name a round with --round, or a file with --prompts")
    return questions


def _prompt(row: Mapping[str, Any], number: int, path: Path) -> DuelPrompt:
    try:
        messages = _messages(row)
        rubric = read_rubric(row.get("rubric"))
        given = row.get("difficulty")
        difficulty = None if given is None or given == "" else float(str(given))
        if difficulty is not None and not math.isfinite(difficulty):
            raise ValueError(f"difficulty {difficulty} is not a finite number: leave the field out where it is not known")
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"row {number} of {path} is not a prompt: it needs `prompt` (a text or messages), and may have `rubric` "
            f"(criteria) and `difficulty` (a number): {_wrong(error)}"
        ) from error
    if not messages[-1].content.strip():
        raise ConfigError(f"row {number} of {path}: the last message of its prompt is empty")
    if messages[-1].role != "user":
        raise ConfigError(f"row {number} of {path}: the last message of a prompt must be the user's")
    text = messages[0].content if len(messages) == 1 else "\n\n".join(f"{m.role}: {m.content}" for m in messages)
    given = row.get("id")
    name = str(number) if given is None or given == "" else valid_unicode(str(given))
    return DuelPrompt(name, messages, text, rubric, difficulty)


def _messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the conversation of a row, lone surrogates in it replaced. Raises TypeError or ValueError where it has none."""
    asked = row.get("prompt")
    if isinstance(asked, str) and asked.strip():
        return (Message(role="user", content=valid_unicode(asked)),)
    if asked is None or asked == [] or isinstance(asked, str):
        raise ValueError(f"prompt is missing or empty; the fields of the row are {sorted(map(str, row))}")
    turns = asked
    if isinstance(asked, list) and all(isinstance(turn, dict) for turn in asked):
        turns = [{**turn, "content": valid_unicode(content_text(turn.get("content")))} for turn in asked]
    return _MESSAGES.validate_python(turns)


def _wrong(error: TypeError | ValueError) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    field, kind = ("rubric", Rubric) if error.title == Rubric.__name__ else ("prompt", tuple[Message, ...])
    return f"in {field}, " + "; ".join(complaints(error, kind))
