"""A duel as data: the prompts that are asked, the fights that came of them, and the figures, each with its 95 % interval.

Prompts are rows of a file, or problems of a run. A file has one prompt in each row (.jsonl, .json, .csv, .parquet; each line of
a .txt is one). Fields:

| field | what |
| --- | --- |
| `prompt` | the request: a text, or a list of messages with role and content |
| `id` | optional; by default the number of the row |
| `rubric` | optional: criteria with name, description, weight and gold; a list, `{"criteria": …}`, or JSON text of either |
| `difficulty` | optional: a number, for the length-controlled win rate |

A new figure is a field of `results.DuelResult`, filled in `duel_result`.
"""

import math
import random
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import Synthesis, complaints
from pop_selfplay.domains import Domain
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks.base import read_file
from pop_selfplay.evaluation.specs import ModelSpec
from pop_selfplay.records import Message, Rubric, content_text
from pop_selfplay.results.base import ReportedEstimate
from pop_selfplay.results.evaluation import (
    CriteriaFigures,
    DuelResult,
    LengthFigures,
    MeanWords,
    PromptsAsked,
    SideCounts,
    WinCount,
)
from pop_selfplay.rewards.scoring import read_rubric
from pop_selfplay.runs.session import Session, read_session
from pop_selfplay.stats.comparisons import length_controlled
from pop_selfplay.stats.intervals import SHARES, clustered_mean
from pop_selfplay.text.fencing import valid_unicode
from pop_selfplay.text.words import count_words

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])


@dataclass(frozen=True)
class DuelPrompt:
    """One thing to ask both models. `text` is what the judge is shown of it. `tagged`: whether a run's solver must write
    `<answer>`; None for a prompt that is of no run."""

    id: str
    messages: tuple[Message, ...]
    text: str
    rubric: Rubric | None = None
    difficulty: float | None = None
    tagged: bool | None = None


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
        domain, tagged = session.domain, session.config.synthesis.solver.answer_tag
        prompts = [
            DuelPrompt(e.id, domain.render("solve", problem=e.problem.text), e.problem.text, e.rubric, tagged=tagged)
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


@dataclass(frozen=True)
class Verdict:
    """What the judge made of answer a beside answer b.

    `preference` in [0, 1] is 1 where a is better in both orders. `flipped` tells that the orders named different winners;
    None where no orders were asked. `criteria` holds (name, weight, rating of a, rating of b).
    """

    preference: float
    flipped: bool | None
    criteria: tuple[tuple[str, float, float, float], ...] = ()


@dataclass(frozen=True)
class Duel:
    """Who fights over what. `samples` answers of each model to each prompt; a temperature of 0 is greedy."""

    a: ModelSpec
    b: ModelSpec
    judge: ModelSpec
    questions: Questions
    domain: str = "instruction_following"
    samples: int = 1
    temperature: float = 0.0
    max_tokens: int = 6144
    judge_max_tokens: int = 4096
    constrain: Literal["auto", "none"] = "none"
    seed: int = 42


@dataclass(frozen=True)
class Fight:
    """One pair of answers. `lost` says why there is no verdict, `forfeit` which side lost by having no valid answer."""

    prompt: DuelPrompt
    sample: int
    a: str
    b: str
    verdict: Verdict | None
    forfeit: str = ""
    lost: str = ""


_SHOWN_CRITERIA: Final = 20


def duel_result(duel: Duel, fights: Sequence[Fight]) -> DuelResult:
    """Return the content of duel.json; docs/evaluation.md tells every field. All rates are those of `a`."""
    judged = [fight for fight in fights if fight.verdict is not None]
    preferences = [_preference(fight) for fight in judged]
    clusters = [fight.prompt.id for fight in judged]
    ordered = [fight for fight in judged if fight.verdict is not None and fight.verdict.flipped is not None]
    flips = [float(bool(fight.verdict and fight.verdict.flipped)) for fight in ordered]
    flip_rate = clustered_mean(flips, [f.prompt.id for f in ordered], SHARES)
    forfeits = Counter(fight.forfeit for fight in judged)
    return DuelResult(
        a=duel.a.label,
        b=duel.b.label,
        judge=duel.judge.label,
        prompts=PromptsAsked(source=duel.questions.source, count=len(duel.questions.prompts), samples=duel.samples),
        temperature=duel.temperature,
        seed=duel.seed,
        win_rate=ReportedEstimate.of(clustered_mean(preferences, clusters, SHARES)),
        wins=sum(preference > 0.5 for preference in preferences),
        ties=sum(preference == 0.5 for preference in preferences),
        losses=sum(preference < 0.5 for preference in preferences),
        flip_rate=ReportedEstimate.of(flip_rate),
        length=_length(duel, judged),
        criteria=_criteria(duel, judged),
        forfeits=SideCounts(a=forfeits["a"], b=forfeits["b"]),
        lost=dict(sorted(Counter(fight.lost for fight in fights if fight.lost).items())),
    )


def fight_row(fight: Fight) -> dict[str, object]:
    """Return one line of items.jsonl."""
    verdict = fight.verdict
    return {
        "id": fight.prompt.id,
        "sample": fight.sample,
        "prompt": fight.prompt.text,
        "a": fight.a,
        "b": fight.b,
        "preference": None if verdict is None else verdict.preference,
        "flipped": None if verdict is None else verdict.flipped,
        "criteria": [dict(zip(("name", "weight", "a", "b"), c, strict=True)) for c in (verdict.criteria if verdict else ())],
        "forfeit": fight.forfeit,
        "lost": fight.lost,
    }


def _preference(fight: Fight) -> float:
    assert fight.verdict is not None  # only judged fights come here
    return fight.verdict.preference


def _length(duel: Duel, judged: Sequence[Fight]) -> LengthFigures:
    """Return the length-controlled win rate over the fights in which both answered, and how long they answered."""
    both = [fight for fight in judged if not fight.forfeit]
    words = [(count_words(fight.a), count_words(fight.b)) for fight in both]
    difficulties = [fight.prompt.difficulty for fight in both]
    known = [difficulty for difficulty in difficulties if difficulty is not None]
    found = length_controlled(
        [_preference(fight) for fight in both],
        [float(a - b) for a, b in words],
        [fight.prompt.id for fight in both],
        seed=duel.seed,
        difficulties=known if both and len(known) == len(both) else None,
    )
    mean_a, mean_b = (statistics.fmean(pair[side] for pair in words) if words else None for side in (0, 1))
    return LengthFigures(
        win_rate=ReportedEstimate.of(found.win_rate),
        effect=round(found.length, 6),
        difficulty_effect=None if found.difficulty is None else round(found.difficulty, 6),
        mean_words=MeanWords(a=mean_a, b=mean_b),
    )


def _criteria(duel: Duel, judged: Sequence[Fight]) -> CriteriaFigures | None:
    """Return on how many criteria a was rated above b, over all and by name, and the scores; None where there were none."""
    rated = [fight for fight in judged if fight.verdict is not None and fight.verdict.criteria]
    if not rated:
        return None
    wins: list[float] = []
    weights: list[float] = []
    clusters: list[str] = []
    by_name: dict[str, list[float]] = {}
    leads: list[float] = []
    for fight in rated:
        assert fight.verdict is not None
        total = sum(weight for _, weight, _, _ in fight.verdict.criteria)
        leads.append(sum(weight * (a - b) for _, weight, a, b in fight.verdict.criteria) / total)
        for name, weight, a, b in fight.verdict.criteria:
            won = 0.5 if a == b else float(a > b)
            wins.append(won)
            weights.append(weight / total)
            clusters.append(fight.prompt.id)
            by_name.setdefault(name, []).append(won)
    most = sorted(by_name.items(), key=lambda pair: (-len(pair[1]), pair[0]))[:_SHOWN_CRITERIA]
    lead = clustered_mean(leads, [f.prompt.id for f in rated], (-2, 2))
    return CriteriaFigures(
        win_rate=ReportedEstimate.of(clustered_mean(wins, clusters, SHARES, weights=weights)),
        score_lead=ReportedEstimate.of(lead),
        by_name={name: _count(results) for name, results in most},
    )


def _count(results: Sequence[float]) -> WinCount:
    return WinCount(wins=results.count(1.0), ties=results.count(0.5), losses=results.count(0.0))
