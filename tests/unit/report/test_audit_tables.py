"""An audit is shown in full, and what a model wrote is shown, never interpreted."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.unit.report.makers import audit_result, duel_result, eval_result, figure, run_result

from pop_selfplay.records import Candidate, Criterion, Episode, Evaluation, Problem, Rubric
from pop_selfplay.report.audit_tables import audit_tables, limit_text, value_text
from pop_selfplay.report.page import Page, render, write_outcome
from pop_selfplay.results import AuditResult

EVIL = '<script>alert("x")</script>[bold]\x1b[2J\x07 name'


def on_terminal(shown: AuditResult) -> str:
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
        audit_result(
            figure(warns=True, limit={"at_least": 0.7}, paper="85.14 %"), figure(missing="no judge"), warnings=("x.f",)
        )
    )
    for said in ("WARNS: it is so (paper: 85.14 %)", "not measured", "no judge", "1 beyond their limits: x.f", "≥ 70.0%"):
        assert said in shown


def test_what_a_model_wrote_cannot_command_the_terminal() -> None:
    shown = on_terminal(audit_result(figure(), name=EVIL))
    assert "\x1b[2J" not in shown and "\x07" not in shown and "[bold]" in shown


def page_of(**parts: Any) -> str:
    page = {"title": EVIL, "readers": [EVIL], "unmeasured": EVIL, "episodes": [], "config": EVIL} | parts
    return render(Page(result=run_result(), **page))


def test_the_page_escapes_everything_and_says_nothing_of_a_run_without_audit() -> None:
    assert "Can the signal be trusted?" not in page_of()
    audited = audit_result(figure(label=EVIL, reading=EVIL), name=EVIL)
    page = page_of(audit=audited, evaluation=eval_result(EVIL), unreadable=[EVIL])
    assert "<script>" not in page and page.count("&lt;script&gt;") >= 12 and "50.0% [25.0%, 75.0%]" in page


def test_an_episode_on_the_page_is_escaped_in_all_its_parts() -> None:
    criterion = Criterion(name=EVIL, description=EVIL, weight=1, gold=EVIL)
    episode = Episode(
        id="1/d/0",
        round=1,
        document_id="d",
        problem=Problem(id="1/d/0", document_id="d", text=EVIL, reference_answer=EVIL),
        candidates=(Candidate(index=0, completion=EVIL, answer=EVIL),),
        rubric=Rubric(criteria=(criterion,)),
        evaluations=(Evaluation(candidate=0, score=1.5),),
        reference_evaluation=Evaluation(candidate=-1, score=1.0),
    )
    page = page_of(episodes=[("typical", episode)])
    assert "<script>" not in page and page.count("&lt;script&gt;") == page_of().count("&lt;script&gt;") + 7
    assert "It scores 1.00, <b>below the median candidate</b>." in page and "1.50" in page


def test_the_page_of_a_duel_and_of_an_evaluation_shows_all_and_interprets_nothing(tmp_path: Path) -> None:
    strange = f"{EVIL} \u2028 \u0085 \u2029"  # ends of lines for Python, and none of JSON lines
    row = {"prompt": strange, "a": strange, "b": EVIL, "preference": 0.75, "flipped": False, "lost": "", "forfeit": ""}
    (tmp_path / "items.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    for result, said in ((eval_result(EVIL), "accuracy"), (duel_result(EVIL), "wins / ties / losses")):
        write_outcome(tmp_path, result)
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert said in page and "<script>" not in page and "&lt;script&gt;" in page
    assert "preference for a: 0.75" in page
