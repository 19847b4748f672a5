"""The figures of a duel, each with its 95 % interval over prompts."""

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pop_selfplay.evaluation.duel.play import Duel, Fight, play_duel
from pop_selfplay.evaluation.eval_dir import open_eval_dir, reporting
from pop_selfplay.interrupts import run_to_end
from pop_selfplay.journal import Journal
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.models.base import Notice
from pop_selfplay.results.duel import (
    CriteriaFigures,
    DuelResult,
    LengthFigures,
    MeanWords,
    PromptsAsked,
    SideCounts,
    WinCount,
)
from pop_selfplay.results.training import ReportedEstimate
from pop_selfplay.stats.bradley_terry import length_controlled
from pop_selfplay.stats.intervals import SHARES, clustered_mean
from pop_selfplay.text.words import count_words

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


def duel_in(out: Path, duel: Duel, tell: Notice = lambda line: None) -> DuelResult:
    """Play `duel` in the directory `out`, write duel.json and items.jsonl there and return the content of duel.json.

    Called again it makes only the calls that are left. `tell` hears now and then how far it is. Raises the errors of
    the models, and JournalError when `out` cannot be used.
    """
    with open_eval_dir(out) as place:
        fights = run_to_end(_played(duel, place.journal, tell))
        result = duel_result(duel, fights)
        lines = "".join(json.dumps(fight_row(fight), ensure_ascii=False) + "\n" for fight in fights)
        write_atomically(place.path / "items.jsonl", lines)
        write_atomically(place.path / "duel.json", result.to_json())
    return result


async def _played(duel: Duel, journal: Journal, tell: Notice) -> list[Fight]:
    def say() -> None:
        calls = {role: sum(reasons.values()) for role, reasons in journal.tally.calls_by_role().items()}
        tell(", ".join(f"{count:,} calls of the {role}" for role, count in calls.items()) or "no call is finished yet")

    async with reporting(say):
        return await play_duel(duel, journal, tell)


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
