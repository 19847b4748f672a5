"""Results of runs, evaluations, duels and audits, with what a test says of them and plain values for the rest."""

from typing import Any

from pop_selfplay.results import AuditResult, DuelResult, EvalResult, ReportedEstimate, RunResult
from pop_selfplay.results.audit import AuditFigure, MeasuredFigure, MissingFigure
from pop_selfplay.results.run import RoundResult

NOTHING = {"mean": None, "low": None, "high": None, "n": 0}
HALF = {"mean": 0.5, "low": 0.25, "high": None, "n": 4}


def estimate(data: dict[str, Any]) -> ReportedEstimate:
    return ReportedEstimate.model_validate(data)


def round_result(number: int = 1, **known: Any) -> RoundResult:
    counts = ("documents", "problems", "candidates", "rubrics", "evaluations", "pairs")
    data: dict[str, Any] = {"round": number, **dict.fromkeys(counts, 0), "dropped": {}, "proposer": None}
    data |= {"criteria": dict.fromkeys(("std", "difference", "rate_all_alike"), NOTHING), "verify_agreement": NOTHING}
    data |= {"reference_answers": {"scored": 0, "below_median": 0}, "lineage": {}, "decisions": [], "measure": {}}
    data |= {"tokens": dict.fromkeys(("prompt", "cached", "generated"), 0), "usage": {}, "training": None}
    data |= {"seconds": dict.fromkeys(("synthesis", "training", "measure"), 0.0)}
    return RoundResult.model_validate(data | known)


def run_result(*rounds: RoundResult, **known: Any) -> RunResult:
    data = {"domain": "d", "seed": 1, "document": True, "rounds": rounds, "usage": [], "stopped": None, "model": None}
    return RunResult.model_validate(data | {"roles": {}, "measure": {}} | known)


def eval_result(name: str) -> EvalResult:
    """Return the result of one benchmark, in which everything that others named has this `name`."""
    row = {"name": "x", "title": name, "scale": 1, "limit": None, "options": {}, "summary": {"flip_rate": HALF}}
    row |= {"decoding": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9, "epochs": 1}, "regressed": False}
    row |= {"figures": {"accuracy": {"base": HALF, "model": HALF, "difference": HALF}}, "logs": {"base": None, "model": "l"}}
    row |= {"lost": {"base": {}, "model": {f"judge_{name}": 2}}}
    data = {"suite": "x", "seed": 1, "model": name, "against": name, "judge": name, "benchmarks": [row], "regressed": []}
    return EvalResult.model_validate(data | {"calls": {}, "tokens": {"prompt": 0, "cached": 0, "generated": 0}})


def duel_result(name: str) -> DuelResult:
    """Return the result of a duel, in which everything that others named has this `name`."""
    criteria = {"win_rate": HALF, "score_lead": HALF, "by_name": {name: {"wins": 1, "ties": 0, "losses": 0}}}
    length = {"win_rate": HALF, "effect": 0.0, "difficulty_effect": None, "mean_words": {"a": None, "b": 3.0}}
    counts = {"wins": 1, "ties": 0, "losses": 0, "forfeits": {"a": 0, "b": 0}, "lost": {}, "temperature": 0.0, "seed": 1}
    asked = {"a": name, "b": name, "judge": name, "prompts": {"source": "p", "count": 1, "samples": 1}}
    rates = {"win_rate": HALF, "flip_rate": NOTHING, "length": length, "criteria": criteria}
    return DuelResult.model_validate({**asked, **counts, **rates})


def figure(**changes: Any) -> AuditFigure:
    """Return a measured figure, or a missing one where the changes say why it is `missing`."""
    known = {"name": "f", "label": "a figure", "form": "share", "reading": "it is so", "limit": None, "warns": False}
    known |= {"paper": "", "missing": ""}
    if "missing" in changes:
        return MissingFigure.model_validate(known | changes)
    return MeasuredFigure.model_validate(known | {"mean": 0.5, "low": 0.25, "high": 0.75, "n": 40} | changes)


def audit_result(*figures: AuditFigure, name: str = "a judge", warnings: tuple[str, ...] = ()) -> AuditResult:
    """Return the result of an audit, in which everything that others named has this `name`."""
    detail = {"title": "names", "columns": ["name", "rubrics"], "rows": [[name, "3"]]}
    family = {"name": "x", "question": "Is it?", "figures": figures, "details": [detail]}
    data = {"round": 1, "scored": 9, "sample": 4, "judge": name, "warnings": warnings, "families": [family], "thresholds": {}}
    return AuditResult.model_validate(data)
