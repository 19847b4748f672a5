"""The prompt bench: what is planted is sound, every part is asked and counted, and a second call asks nothing again."""

import asyncio
import json
from pathlib import Path

import pytest
from benchmarks.prompts import DOMAINS, PARTS, arguments, ask, synthesis, texts_of
from benchmarks.prompts_report import read, report
from pydantic import ValidationError

from pop_selfplay.method.answers import same_final_answer
from pop_selfplay.text.words import count_words


@pytest.mark.parametrize("domain", DOMAINS)
def test_texts_are_short_and_what_is_planted_on_them_differs_as_it_says(domain: str) -> None:
    texts = texts_of(domain)
    planted = [text.planted for text in texts if text.planted is not None]
    assert len(texts) == 10 and all(60 <= count_words(text.document.text) <= 130 for text in texts) and len(planted) == 4
    for one in planted:
        right, half, wrong = (answer.answer for answer in one.answers)
        assert len({right, half, wrong}) == 3 and half.split()[:5] == right.split()[:5]
        assert len(one.rubric.criteria) == 2 and one.problem.reference_answer == right
        if domain == "math":
            assert same_final_answer(half, right) and not same_final_answer(wrong, right)


def test_settings_of_roles_go_beside_the_benchs_own_and_a_wrong_one_is_refused() -> None:
    found = synthesis(4, "none", ["solver.top_p=0.9", "judge.max_tokens=99"])
    assert (found.solver.top_p, found.solver.max_tokens, found.judge.max_tokens, found.judge.attempts) == (0.9, 450, 99, 3)
    for wrong in ("solvr.top_p=0.9", "solver.topp=0.9", "solver.top_p=high"):
        with pytest.raises(ValidationError):
            synthesis(4, "none", [wrong])


def test_every_part_is_asked_and_reported_and_nothing_twice(tmp_path: Path) -> None:
    given = ["--model", "simulated", "--name", "fake", "--domain", "health_care", "--domain", "math", "--documents", "2"]
    args = arguments([*given, "--planted", "2", "--work", str(tmp_path), "--parts", *PARTS])
    asyncio.run(ask(args))
    before = [len(played.calls) for played in read(tmp_path / "after" / "fake")]
    asyncio.run(ask(args))
    assert [len(played.calls) for played in read(tmp_path / "after" / "fake")] == before and all(before)
    report(tmp_path, tmp_path / "prompts.json")
    figures = json.loads((tmp_path / "prompts.json").read_text(encoding="utf-8"))["fake"]["after"]["figures"]
    assert figures["solver: valid at first"] == pytest.approx({"mean": 1.0, "low": 0.4, "high": 1.0, "n": 16 + 4 * 4}, abs=0.3)
    assert figures["proposer: echoes among the valid"]["mean"] == 0
    assert figures["judge, pointwise: rating as deserved"]["n"] == 2 * 2 * 3 * 2
    assert figures["judge, pairwise: order decides"]["n"] == 2 * 2 * 3
    assert figures["episodes that end with scores"]["n"] == 4
