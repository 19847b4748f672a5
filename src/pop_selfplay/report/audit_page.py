"""The section of report.html about an audit, from the content of audit.json. Everything is escaped."""

import html
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pop_selfplay.evaluation.audit.audit import RESULT
from pop_selfplay.report.audit_tables import limit_text, reading_text, value_text, verdict


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
        f"<p>{_text(looked_at)}</p>",
        f"<p><b>{_text(verdict(result).plain)}</b></p>",
    ]
    for family in result["families"]:
        rows = ([f["label"], value_text(f), f"{f.get('n', 0):,}", limit_text(f), reading_text(f)] for f in family["figures"])
        parts.append(f"<h3>{_text(family['question'])}</h3>")
        parts.append(_table(("figure", "value [95 %]", "n", "limit", "reading"), rows))
        for detail in family["details"]:
            parts.append(
                f"<details><summary>{_text(detail['title'])}</summary>{_table(detail['columns'], detail['rows'])}</details>"
            )
    return "".join(parts)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
