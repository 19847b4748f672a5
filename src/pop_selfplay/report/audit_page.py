"""The section of report.html about an audit, from the content of audit.json. Everything is escaped."""

import json
from pathlib import Path
from typing import Any

from pop_selfplay.evaluation.audit.audit import RESULT
from pop_selfplay.report.audit_tables import limit_text, reading_text, value_text, verdict
from pop_selfplay.report.markup import escaped, table


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
