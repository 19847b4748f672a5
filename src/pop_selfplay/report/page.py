"""report.html: one static page without scripts, made from the result and a few episodes of the journal.

Everything that came from a document or a model is escaped: it is shown, never interpreted.

What report.html tells about rubrics: how well those of each round separate, and the criteria of the shown episodes.

The section of report.html about an audit, from the content of audit.json. Everything is escaped.
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pop_selfplay.config import NoMeasure, NoTraining, dump_config
from pop_selfplay.evaluation.audit.audit import RESULT
from pop_selfplay.method.rubrics import Power, below_median, criterion_power
from pop_selfplay.records import Episode, Role
from pop_selfplay.report.eval_tables import evaluation_section, limit_text, reading_text, value_text, verdict
from pop_selfplay.report.format import decimals, escaped, estimate_text, table
from pop_selfplay.report.tables import (
    COLUMNS,
    MEASURE_COLUMNS,
    measure_note,
    measure_rows,
    measure_title,
    over_rounds,
    progress_rows,
    progress_sentences,
    reasons_text,
    refusal_lines,
    usage_rows,
)
from pop_selfplay.runs.session import Session
from pop_selfplay.seeds import derive_seed

EPISODES_SHOWN: Final = 5
_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5rem 0 1.5rem}
th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}th{background:#f4f4f4}pre{white-space:pre-wrap;background:#f7f7f7;padding:.6rem}
details{margin:.5rem 0}summary{cursor:pointer;font-weight:600}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}th,pre{background:#242424}th,td{border-color:#444}}
"""


def render_page(session: Session, result: dict[str, Any]) -> str:
    """Return the whole page for a run."""
    title = f"pop: {result['domain']}, seed {result['seed']}"
    body = [
        f"<h1>{escaped(title)}</h1>",
        f"<p>{escaped(_who_saw_documents(session))}</p>",
        "<h2>What self-play did</h2>",
        _measure(session, result["measure"]),
        *(f"<p>{escaped(sentence)}</p>" for sentence in progress_sentences(result)),
        *(["<h2>Round by round</h2>", table(COLUMNS, progress_rows(result))] if over_rounds(result) else []),
        evaluation_section(session.directory.path),
        audit_section(session.directory.path),
        "<h2>From documents to pairs</h2>",
        _rounds(result["rounds"]),
        "<h2>Calls by role</h2>",
        _roles(result["roles"]),
        *(f"<p>{escaped(line)}</p>" for line in refusal_lines(result)),
        "<h2>Tokens and cost</h2>",
        table(*usage_rows(result["usage"])),
        "<h2>How well rubrics separate</h2>",
        rubrics_section(result["rounds"]),
        "<h2>Some episodes</h2>",
        *map(episode_section, itertools.islice(_scored_episodes(session), EPISODES_SHOWN)),
        f"<h2>Config</h2><details><summary>config.yaml</summary><pre>{escaped(dump_config(session.config))}</pre></details>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escaped(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(body)}</body></html>\n'


def _who_saw_documents(session: Session) -> str:
    who = [role.value.replace("_", " ") for role in Role if role in session.config.synthesis.document_for]
    return f"The documents were shown to: {', '.join(who) or 'nobody'}."


def _scored_episodes(session: Session) -> Iterator[Episode]:
    """Yield the scored episodes of round 1 in an order that has nothing to do with their documents'."""
    ids = sorted(session.journal.finished_episodes(1), key=lambda id_: derive_seed("shown", id_))
    return (episode for id_ in ids if not (episode := session.journal.episode(1, id_)).failure)


def _measure(session: Session, measured: dict[str, Any]) -> str:
    if measured:
        about = f"<p>{escaped(measure_title(measured))}. {escaped(measure_note(measured))}</p>"
        return about + table(MEASURE_COLUMNS, measure_rows(measured))
    if isinstance(session.config.training, NoTraining):
        why = "training.type is none, so there is no trained model to measure"
    elif isinstance(session.config.measure, NoMeasure):
        why = "measure.type is none"
    else:
        why = "no trained model has been measured yet"
    return f"<p>Nothing was measured: {why}.</p>"


def _rounds(rounds: list[dict[str, Any]]) -> str:
    columns = ("round", "documents", "problems", "candidates", "rubrics", "evaluations", "pairs")
    rows = [
        [
            *(r[c] for c in columns),
            reasons_text(r["dropped"]),
            "" if r["proposer"] is None else f"{r['proposer']['pairs']:,}; {reasons_text(r['proposer']['dropped'])}",
            ", ".join(f"{k} {v:.0f}" for k, v in r["seconds"].items()),
        ]
        for r in rounds
    ]
    return table([*columns, "dropped", "pairs of problems", "seconds"], rows)


def _roles(roles: dict[str, dict[str, int]]) -> str:
    rows = []
    for role, reasons in roles.items():
        total = sum(reasons.values())
        valid = (reasons.get("valid", 0) + reasons.get("repaired", 0)) / total
        rows.append([role, total, f"{valid:.1%}", reasons_text(reasons)])
    return table(["role", "calls", "valid", "refused because"], rows)


_FIGURES: Final = (
    ("criteria.std", "a criterion's ratings within a group: standard deviation, 0 to 1"),
    ("criteria.difference", "two candidates on one criterion: mean difference of their ratings (its power), 0 to 2"),
    ("criteria.rate_all_alike", "criteria by which all candidates of a group fare alike, share"),
    ("verify_agreement", "boxed answers: a right one scores above a wrong one, share; 0.5 is chance"),
)


def rubrics_section(rounds: list[dict[str, Any]]) -> str:
    """Return a table with one row per round and figure; a figure over nothing is left out."""
    rows: list[list[Any]] = []
    for round_ in rounds:
        for name, meaning in _FIGURES:
            figure: Any = round_
            for key in name.split("."):
                figure = figure[key]
            if figure["n"]:
                rows.append([str(round_["round"]), meaning, estimate_text(figure, decimals(3)), figure["n"]])
        references = round_["reference_answers"]
        if references["scored"]:
            share = f"{references['below_median'] / references['scored']:.3f}"
            rows.append(
                [
                    str(round_["round"]),
                    "reference answers that score below the median candidate, share",
                    share,
                    references["scored"],
                ]
            )
    return table(["round", "figure", "value [95 %]", "n"], rows) if rows else "<p>No candidate was rated by a rubric.</p>"


def episode_section(episode: Episode) -> str:
    """Return one scored episode, folded: problem, reference answer, rubric and candidates."""
    assert episode.problem is not None  # the episode did not fail
    scores = {evaluation.candidate: evaluation.score for evaluation in episode.evaluations}
    scored = sorted((c for c in episode.candidates if c.index in scores), key=lambda c: -scores[c.index])
    answers = [[f"{scores[c.index]:.2f}", c.answer] for c in scored]
    return (
        f"<details><summary>{escaped(episode.problem.text[:160])}</summary>"
        f"<h3>Problem</h3><pre>{escaped(episode.problem.text)}</pre>"
        f"<h3>Reference answer</h3><pre>{escaped(episode.problem.reference_answer)}</pre>{_reference(episode)}"
        f"<h3>Rubric</h3>{_rubric(episode)}"
        f"<h3>Candidates, best first</h3>{table(['score', 'answer'], answers)}</details>"
    )


def _reference(episode: Episode) -> str:
    evaluation = episode.reference_evaluation
    if evaluation is None:
        return ""
    flag = ", <b>below the median candidate</b>" if below_median(evaluation, episode.evaluations) else ""
    return f"<p>It scores {evaluation.score:.2f}{flag}.</p>"


def _rubric(episode: Episode) -> str:
    if episode.rubric is None:
        return "<p>None: the final answer was verified.</p>"
    power: dict[str, Power] = {each.criterion: each for each in criterion_power(episode.rubric, episode.evaluations)}
    rows = [
        [c.name, c.weight, f"{power[c.name].difference:.2f}" if c.name in power else "", c.gold, c.description]
        for c in episode.rubric.criteria
    ]
    return table(["criterion", "weight", "power", "gold", "description"], rows)


def audit_section(run: Path) -> str:
    """Return the section as HTML, "" where the run has not been audited."""
    path = run / RESULT
    return _section(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ""


def _section(result: dict[str, Any]) -> str:
    judge = f", second judge {result['judge']}" if result["judge"] else ""
    looked_at = (
        f"Audit of round {result['round']}: {result['scored']:,} scored problems, {result['sample']:,} played again{judge}."
    )
    parts = [
        "<h2>Can the signal be trusted?</h2>",
        f"<p>{escaped(looked_at)}</p>",
        f"<p><b>{escaped(verdict(result).plain)}</b></p>",
    ]
    for family in result["families"]:
        rows = ([f["label"], value_text(f), f"{f.get('n', 0):,}", limit_text(f), reading_text(f)] for f in family["figures"])
        parts.append(f"<h3>{escaped(family['question'])}</h3>")
        parts.append(table(("figure", "value [95 %]", "n", "limit", "reading"), rows))
        for detail in family["details"]:
            parts.append(
                f"<details><summary>{escaped(detail['title'])}</summary>{table(detail['columns'], detail['rows'])}</details>"
            )
    return "".join(parts)
