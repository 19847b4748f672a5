"""An audit is shown in full, and what a model wrote is shown, never interpreted."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from pop_selfplay.evaluation.audit.audit import RESULT
from pop_selfplay.report.eval_tables import audit_tables, limit_text, value_text
from pop_selfplay.report.page import audit_section

EVIL = '<script>alert("x")</script>[bold]\x1b[2J\x07 name'


def figure(**changes: Any) -> dict[str, Any]:
    known = {"name": "f", "label": "a figure", "form": "share", "mean": 0.5, "low": 0.25, "high": 0.75, "n": 40}
    return {**known, "reading": "it is so", "limit": None, "warns": False, "paper": "", "missing": ""} | changes


def result(*figures: dict[str, Any], warnings: tuple[str, ...] = ()) -> dict[str, Any]:
    detail = {"title": "names", "columns": ["name", "rubrics"], "rows": [[EVIL, "3"]]}
    family = {"name": "x", "question": "Is it?", "figures": list(figures), "details": [detail]}
    return {"round": 1, "scored": 9, "sample": 4, "judge": EVIL, "warnings": list(warnings), "families": [family]}


def on_terminal(shown: dict[str, Any]) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as captured:
        console.print(audit_tables(shown))
    return captured.get()


def test_values_are_shown_by_their_form_and_what_is_missing_says_so() -> None:
    assert value_text(figure()) == "50.0% [25.0%, 75.0%]"
    assert value_text(figure(form="number", mean=12345.6, low=-0.123, high=None)) == "12,346 [-0.12, ?]"
    assert value_text(figure(missing="no judge")) == "not measured"
    assert limit_text(figure(limit={"at_most": 0.1})) == "≤ 10.0%"
    assert limit_text(figure(limit={"at_least": 0.2}, form="number")) == "≥ 0.20" and limit_text(figure()) == ""


def test_warnings_and_missing_figures_are_named_with_their_reason() -> None:
    shown = on_terminal(
        result(figure(warns=True, limit={"at_least": 0.7}, paper="85.14 %"), figure(missing="no judge"), warnings=("x.f",))
    )
    for said in ("WARNS: it is so (paper: 85.14 %)", "not measured", "no judge", "1 beyond their limits: x.f", "≥ 70.0%"):
        assert said in shown


def test_what_a_model_wrote_cannot_command_the_terminal() -> None:
    shown = on_terminal(result(figure()))
    assert "\x1b[2J" not in shown and "\x07" not in shown and "[bold]" in shown


def test_the_page_escapes_everything_and_says_nothing_of_a_run_without_audit(tmp_path: Path) -> None:
    assert audit_section(tmp_path) == ""
    (tmp_path / RESULT).write_text(json.dumps(result(figure(label=EVIL, reading=EVIL))), encoding="utf-8")
    page = audit_section(tmp_path)
    assert "<script>" not in page and page.count("&lt;script&gt;") >= 4 and "50.0% [25.0%, 75.0%]" in page
