"""report.html: one static page without scripts, made from the result and a few episodes of the journal.

Everything that came from a document or a model is escaped: it is shown, never interpreted.
"""

import html
import itertools
from collections.abc import Iterable
from typing import Any, Final

from pop_selfplay.config import dump_config
from pop_selfplay.records import Episode
from pop_selfplay.report.audit_page import audit_section
from pop_selfplay.report.tables import reasons_text
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
        f"<h1>{_text(title)}</h1>",
        f"<p>Document shown to proposer and rubric writer: {'yes' if result['document'] else 'no'}.</p>",
        "<h2>What self-play did</h2>",
        _measure(result["measure"]),
        audit_section(session.directory.path),
        "<h2>From documents to pairs</h2>",
        _rounds(result["rounds"]),
        "<h2>Calls by role</h2>",
        _roles(result["roles"]),
        "<h2>Tokens and cost</h2>",
        _usage(result["rounds"]),
        "<h2>Some episodes</h2>",
        *(_episode(e) for e in itertools.islice((e for e in session.journal.episodes(1) if not e.failure), EPISODES_SHOWN)),
        f"<h2>Config</h2><details><summary>config.yaml</summary><pre>{_text(dump_config(session.config))}</pre></details>",
    ]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(body)}</body></html>\n'


def _measure(measured: dict[str, Any]) -> str:
    if not measured:
        return "<p>Nothing was measured.</p>"
    rows = [
        [group, mode, *(_estimate(figures[part]) for part in ("before", "after", "gain")), figures["after"]["n"]]
        for group, modes in measured.items()
        for mode, figures in modes.items()
    ]
    return _table(["group", "mode", "before [95 %]", "after [95 %]", "gain [95 %]", "n"], rows)


def _estimate(estimate: dict[str, Any]) -> str:
    return "{} [{}, {}]".format(*("?" if (x := estimate[p]) is None else f"{x:.3f}" for p in ("mean", "low", "high")))


def _rounds(rounds: list[dict[str, Any]]) -> str:
    columns = ("round", "documents", "problems", "candidates", "rubrics", "evaluations", "pairs")
    rows = [
        [
            *(r[c] for c in columns),
            reasons_text(r["dropped"]),
            ", ".join(f"{k} {v:.0f}" for k, v in r["seconds"].items()),
        ]
        for r in rounds
    ]
    return _table([*columns, "dropped", "seconds"], rows)


def _usage(rounds: list[dict[str, Any]]) -> str:
    columns = ("calls", "prompt", "cached", "generated", "money")
    rows = [[str(r["round"]), role, *(used[c] for c in columns)] for r in rounds for role, used in r["usage"].items()]
    return _table(["round", "role", *columns], rows)


def _roles(roles: dict[str, dict[str, int]]) -> str:
    rows = []
    for role, reasons in roles.items():
        total = sum(reasons.values())
        valid = (reasons.get("valid", 0) + reasons.get("repaired", 0)) / total
        rows.append([role, total, f"{valid:.1%}", reasons_text(reasons)])
    return _table(["role", "calls", "valid", "refused because"], rows)


def _episode(episode: Episode) -> str:
    assert episode.problem is not None  # the episode did not fail
    scores = {evaluation.candidate: evaluation.score for evaluation in episode.evaluations}
    criteria = [[c.name, c.weight, c.gold, c.description] for c in (episode.rubric.criteria if episode.rubric else ())]
    scored = sorted((c for c in episode.candidates if c.index in scores), key=lambda c: -scores[c.index])
    answers = [[f"{scores[c.index]:.2f}", c.answer] for c in scored]
    return (
        f"<details><summary>{_text(episode.problem.text[:160])}</summary>"
        f"<h3>Problem</h3><pre>{_text(episode.problem.text)}</pre>"
        f"<h3>Reference answer</h3><pre>{_text(episode.problem.reference_answer)}</pre>"
        f"<h3>Rubric</h3>{_table(['criterion', 'weight', 'gold', 'description'], criteria)}"
        f"<h3>Candidates, best first</h3>{_table(['score', 'answer'], answers)}</details>"
    )


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    def cell(value: Any) -> str:
        numeric = isinstance(value, (int, float))
        return f'<td class="n">{value:,}</td>' if numeric else f"<td>{_text(str(value))}</td>"

    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
