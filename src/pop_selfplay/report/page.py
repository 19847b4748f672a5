"""report.html: one static page without scripts, made from the result and a few episodes of the journal.

Everything that came from a document or a model is escaped: it is shown, never interpreted.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from pop_selfplay.config import NoMeasure, NoTraining, dump_config
from pop_selfplay.core.seeds import derive_seed
from pop_selfplay.records import Episode, Role
from pop_selfplay.report.audit_page import audit_section
from pop_selfplay.report.evaluation import evaluation_section
from pop_selfplay.report.markup import escaped, table
from pop_selfplay.report.progress import COLUMNS, over_rounds, progress_rows, progress_sentences
from pop_selfplay.report.rubrics import episode_section, rubrics_section
from pop_selfplay.report.tables import MEASURE_COLUMNS, measure_note, measure_rows, measure_title, reasons_text, usage_rows
from pop_selfplay.session import Session

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
