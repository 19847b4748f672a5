"""What the journals of `prompts.py` say: how often each role kept its form, echoed, pointed, and judged what was planted.

`report` prints a table for each model with the labels side by side, and writes the same figures as JSON. Nothing is asked of a
model. A figure more is a function that returns rows (value, text it belongs to), and a line in `_figures`.
"""

import json
import re
import sqlite3
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any, Final, NamedTuple

from pop_selfplay.domains import Domain
from pop_selfplay.journal import Journal
from pop_selfplay.judging import find_mode
from pop_selfplay.method.echo import echoes
from pop_selfplay.method.parsing import (
    Rejection,
    parse_answer,
    parse_better,
    parse_marks,
    parse_proposal,
    parse_rubric,
)
from pop_selfplay.method.problems import general_name, has_gold, points_at_text
from pop_selfplay.records import Criterion, Role
from pop_selfplay.stats.intervals import SHARES, Estimate, clustered_mean
from pop_selfplay.text.overlap import normalised_words

Rows = list[tuple[float, str]]
"""Values with the text that each belongs to, by which they are clustered."""
HIDDEN: Final = re.compile(
    r"\b(?:the|this) (?:text|passage|document|article|guide|excerpt|sample|author|writer|study|source|provided \w+)\b|"
    r"\b(?:above|mentioned|as described|provided|following) (?:text|list|table|guide|information|passage|facts)\b",
    re.IGNORECASE,
)
_SAME: Final = 1e-3
_LONG: Final = 5


class Call(NamedTuple):
    """A call of the journal: in which part, about which text, by which role, and what was refused about it ("" nothing)."""

    part: str
    text_id: str
    role: Role
    item: str
    attempt: int
    reason: str
    text: str

    @property
    def valid(self) -> bool:
        return self.reason in ("", "repaired")


class Played(NamedTuple):
    """What one model made of one domain under one label."""

    domain: Domain
    calls: list[Call]
    journal: Path


def read(folder: Path) -> list[Played]:
    """Return what lies in the folder of one label and model, domain by domain."""
    found = []
    for path in sorted(folder.glob("*.db")):
        domain = Domain.model_validate_json(path.with_suffix(".json").read_text(encoding="utf-8"))
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            rows = db.execute("SELECT episode, role, item, attempt, reason, text FROM calls").fetchall()
        calls = [_call(*row) for row in rows]
        found.append(Played(domain, calls, path))
    return found


def _call(episode: str, role: str, item: str, attempt: int, reason: str, text: str) -> Call:
    part, _, text_id = episode.partition("/")
    return Call(part, text_id, Role(role), item, attempt, reason, text)


def _first(played: Sequence[Played], parts: Collection[str], role: Role) -> Rows:
    """Return for each first attempt in `parts` whether it was valid."""
    calls = (c for p in played for c in p.calls if c.part in parts and c.role is role and c.attempt == 0)
    return [(float(c.valid), c.text_id) for c in calls]


def _ended(played: Sequence[Played], parts: Collection[str], role: Role) -> Rows:
    """Return for each thing asked in `parts` whether one of its attempts was valid."""
    done: dict[tuple[str, str, str], bool] = {}
    for call in (c for p in played for c in p.calls if c.part in parts and c.role is role):
        key = (call.text_id, call.part, call.item)
        done[key] = done.get(key, False) or call.valid
    return [(float(valid), text_id) for (text_id, _, _), valid in done.items()]


def texts_in(call: Call) -> list[str]:
    """Return the texts that a valid call is about: what a run would go on with."""
    if call.role is Role.PROPOSER:
        proposal = parse_proposal(call.text)
        return [] if isinstance(proposal, Rejection) else [proposal.value.problem, proposal.value.reference_answer]
    if call.role is Role.SOLVER:
        answer = parse_answer(call.text, tagged=False)
        return [] if isinstance(answer, Rejection) else [answer.value]
    if call.role is Role.RUBRIC_WRITER:
        return [text for c in criteria_in(call) for text in (c.name, c.description, c.gold if has_gold(c) else "") if text]
    return re.findall(r'"thoughts"\s*:\s*"([^"]*)"', call.text)


def criteria_in(call: Call) -> Sequence[Criterion]:
    rubric = parse_rubric(call.text)
    return () if isinstance(rubric, Rejection) else rubric.value.criteria


def _echoes(played: Sequence[Played], role: Role) -> Rows:
    """Return for each valid call of a role whether one of its texts is the prompt's own."""
    return [
        (float(any(echoes(text, p.domain.fixed_text(role), thought=role is Role.JUDGE) for text in texts_in(c))), c.text_id)
        for p in played
        for c in p.calls
        if c.role is role and c.valid
    ]


def _pointing(played: Sequence[Played]) -> Rows:
    calls = [c for p in played for c in p.calls if c.role is Role.PROPOSER and c.valid]
    problems = [(texts_in(call)[0], call.text_id) for call in calls]
    return [(float(bool(points_at_text(problem) or HIDDEN.search(problem))), text_id) for problem, text_id in problems]


def _unspecific(played: Sequence[Played]) -> Rows:
    """Return for each criterion whether it would fit any problem: its words name nothing that its problem's text does."""
    return [
        (float(general_name(criterion) or not _content(criterion) & prompt_words(p, c.text_id)), c.text_id)
        for p in played
        for c in p.calls
        if c.role is Role.RUBRIC_WRITER and c.valid
        for criterion in criteria_in(c)
    ]


def _content(criterion: Criterion) -> set[str]:
    said = f"{criterion.name} {criterion.description} {criterion.gold if has_gold(criterion) else ''}"
    return {word for word in normalised_words(said) if len(word) >= _LONG or word.isdigit()}


def prompt_words(played: Played, text_id: str) -> set[str]:
    """Return the longer words of a text and of what was planted on it, less those of the rubric writer's own prompt."""
    from benchmarks.prompts import texts_of

    (text,) = [text for text in texts_of(played.domain.name) if text.document.id == text_id]
    said = text.document.text + (text.planted.problem.text if text.planted else "")
    own = {word for passage in played.domain.fixed_text(Role.RUBRIC_WRITER).passages for word in passage.split()}
    return {word for word in normalised_words(said) if len(word) >= _LONG or word.isdigit()} - own


def _planted_scores(played: Sequence[Played], mode: str) -> dict[str, dict[int, list[float]]]:
    """Return text id → answer (0 right, 1 half, 2 wrong) → what its valid calls gave it, for a mode that rates or compares."""
    found: dict[str, dict[int, list[float]]] = {}
    for call in (c for p in played for c in p.calls if c.part == f"judge:{mode}" and c.valid):
        for index, value in _values(call, mode):
            found.setdefault(call.text_id, {}).setdefault(index, []).append(value)
    return found


def _values(call: Call, mode: str) -> Iterator[tuple[int, float]]:
    """Yield what one judge's call says about which answer: a mean rating, a lead, a win."""
    if ":" not in call.item:
        ratings = [float(number) for number in _ratings(call, mode)]
        yield int(call.item.split(".")[0]), statistics.fmean(ratings)
        return
    a, b = map(int, call.item.split("#")[0].split(":"))
    if mode == "pairwise":
        better = parse_better(call.text)
        if not isinstance(better, Rejection):
            yield a, float(better.value == "A")
            yield b, float(better.value == "B")
        return
    marks = parse_marks(call.text)
    if not isinstance(marks, Rejection):
        yield a, marks.value.a - marks.value.b
        yield b, marks.value.b - marks.value.a


def _ratings(call: Call, mode: str) -> list[str]:
    if mode == "logprob":
        return re.findall(r":\s*([0-2])", call.text)
    return re.findall(r'"rating"\s*:\s*"?([0-2])', call.text)


def _order(scores: Mapping[str, Mapping[int, Sequence[float]]]) -> Rows:
    """Return for every two answers of a text whether the better one scored higher; a tie is half right."""
    rows = []
    for text_id, of in scores.items():
        means = {index: statistics.fmean(values) for index, values in of.items()}
        for better, worse in combinations(sorted(means), 2):
            gap = means[better] - means[worse]
            rows.append((0.5 if abs(gap) < _SAME else float(gap > 0), text_id))
    return rows


def _right_ratings(played: Sequence[Played], mode: str) -> Rows:
    """Return for each rating of a planted criterion whether it is the one deserved: 2 for a stated fact, 0 for a wrong one."""
    rows = []
    for call in (c for p in played for c in p.calls if c.part == f"judge:{mode}" and c.valid):
        answer, _, criterion = call.item.partition(".")
        deserved = {"0": (2, 2), "1": (2, 0), "2": (0, 0)}[answer]
        wanted = deserved if not criterion else (deserved[int(criterion)],)
        rows += [(float(float(said) == due), call.text_id) for said, due in zip(_ratings(call, mode), wanted, strict=False)]
    return rows


def _flips(played: Sequence[Played], mode: str) -> Rows:
    """Return for every two answers that were compared in both orders whether the order decided."""
    said: dict[tuple[str, int, int], float] = {}
    for call in (c for p in played for c in p.calls if c.part == f"judge:{mode}" and c.valid):
        a, b = map(int, call.item.split(":"))
        said[call.text_id, a, b] = dict(_values(call, mode)).get(a, 0.0) - (0.5 if mode == "pairwise" else 0.0)
    both = [(text_id, a, b) for text_id, a, b in said if a < b and (text_id, b, a) in said]
    return [(float(said[text_id, a, b] * said[text_id, b, a] > 0), text_id) for text_id, a, b in both]


def _episodes(played: Sequence[Played], value: Callable[[Sequence[float]], float | None]) -> Rows:
    """Return `value` of the scores of every whole episode, none where it ended early (an empty sequence) and gives None."""
    rows = []
    for p in played:
        with Journal.open_to_read(p.journal) as journal:
            for episode in journal.episodes(1):
                found = value([evaluation.score for evaluation in episode.evaluations])
                if found is not None:
                    rows.append((found, episode.document_id))
    return rows


def figures(played: Sequence[Played]) -> dict[str, Estimate]:
    """Return name → figure of one model under one label, those of which there is anything to measure."""
    found = {
        name: clustered_mean([v for v, _ in rows], [c for _, c in rows], SHARES) for name, rows in _figures(played) if rows
    }
    spread = _episodes(played, lambda scores: statistics.pstdev(scores) if scores else None)
    if spread:
        found["standard deviation of an episode's scores"] = clustered_mean(
            [v for v, _ in spread], [c for _, c in spread], (0, 1)
        )
    return found


def _figures(played: Sequence[Played]) -> Iterator[tuple[str, Rows]]:
    for name, part, role in (
        ("proposer", "propose", Role.PROPOSER),
        ("solver", "solve", Role.SOLVER),
        ("rubric writer", "rubric", Role.RUBRIC_WRITER),
    ):
        yield f"{name}: valid at first", _first(played, (part, "episode"), role)
        yield f"{name}: valid after retries", _ended(played, (part, "episode"), role)
        yield f"{name}: echoes among the valid", _echoes(played, role)
    yield "problems that point at a hidden text", _pointing(played)
    yield "criteria that would fit any problem", _unspecific(played)
    for mode in _modes(played):
        scores = _planted_scores(played, mode)
        parts = (f"judge:{mode}", *(("episode",) if mode == "pointwise" else ()))
        yield f"judge, {mode}: valid at first", _first(played, parts, Role.JUDGE)
        yield f"judge, {mode}: valid after retries", _ended(played, parts, Role.JUDGE)
        yield f"judge, {mode}: better answer above worse", _order(scores)
        if find_mode(mode).rates_criteria:
            yield f"judge, {mode}: rating as deserved", _right_ratings(played, mode)
        else:
            yield f"judge, {mode}: order decides", _flips(played, mode)
    yield "judge: echoes among the valid", _echoes(played, Role.JUDGE)
    yield "episodes that end with scores", _episodes(played, lambda scores: float(bool(scores)))
    tied = _episodes(played, lambda scores: float(max(scores) - min(scores) < _SAME) if scores else None)
    yield "scored episodes whose scores all tie", tied


def _modes(played: Iterable[Played]) -> list[str]:
    parts = {c.part for p in played for c in p.calls if c.part.startswith("judge:")}
    return sorted(part.removeprefix("judge:") for part in parts)


def report(work: Path, target: Path | None) -> None:
    """Print what lies in `work`, LABEL/MODEL/DOMAIN.db, and write it to `target`."""
    result: dict[str, Any] = {}
    for folder in sorted(path for path in work.glob("*/*") if path.is_dir()):
        played = read(folder)
        refused: dict[str, int] = {}
        for call in (c for p in played for c in p.calls if not c.valid):
            key = f"{call.role.value}.{call.reason}"
            refused[key] = refused.get(key, 0) + 1
        label, model = folder.parts[-2:]
        result.setdefault(model, {})[label] = {
            "figures": {name: estimate.as_json() for name, estimate in figures(played).items()},
            "refused": dict(sorted(refused.items())),
        }
    for model, labels in result.items():
        sys.stdout.write(_table(model, labels))
    if target is not None:
        target.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _table(model: str, labels: Mapping[str, Any]) -> str:
    order = sorted(labels, key=lambda label: label != "before")
    names = list(dict.fromkeys(name for label in order for name in labels[label]["figures"]))
    lines = [f"\n{model}", "", f"| | {' | '.join(order)} |", f"| --- |{' --- |' * len(order)}"]
    for name in names:
        cells = [_cell(labels[label]["figures"].get(name), "deviation" in name) for label in order]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(figure: Mapping[str, float | None] | None, plain: bool) -> str:
    if figure is None:
        return ""
    mean, low, high = (figure[key] for key in ("mean", "low", "high"))
    factor, digits = (1, 2) if plain else (100, 0)
    between = "" if low is None or high is None else f" [{factor * low:.{digits}f}, {factor * high:.{digits}f}]"
    return f"{factor * (mean or 0):.{digits}f}{'' if plain else ' %'}{between}, n {figure['n']}"
