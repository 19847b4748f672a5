from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import RunConfig, parse_config
from pop_selfplay.domains import load_domain
from pop_selfplay.errors import CorpusError, UsageError
from pop_selfplay.judging import MODES
from pop_selfplay.plan import CRITERIA, EarlierRun, calls_per_episode, make_plan, measured
from pop_selfplay.records import Role
from pop_selfplay.report.tables import plan_table
from tests.integration.runs import write_texts
from tests.unit.report.makers import round_result, run_result

ENDPOINT = {"type": "endpoint", "base_url": "http://localhost:1/v1", "model": "m"}


def config(texts: Path, *, model: dict[str, Any] | None = None, **synthesis: Any) -> RunConfig:
    return parse_config(
        {
            "domain": "health_care",
            "corpus": {"type": "files", "paths": [str(texts)]},
            "model": {**ENDPOINT, **(model or {})},
            "synthesis": {"documents": 4, "candidates": 8, **synthesis},
            "training": {"type": "none"},
        }
    )


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_texts(tmp_path_factory.mktemp("plan") / "texts", 6)


@pytest.mark.parametrize(
    ("scoring", "judged"),
    [
        ("pointwise", 8),
        ("per_criterion", 8 * CRITERIA),
        ("logprob", 8),
        ("pairwise", 8 * 7),
        ("anchor", 2 * 7),
        ("verify", 0),
    ],
)
def test_the_judge_is_called_as_often_as_the_scoring_mode_asks(texts: Path, scoring: str, judged: int) -> None:
    calls = calls_per_episode(config(texts, scoring=scoring).synthesis, load_domain("health_care"))
    assert calls[Role.JUDGE] == judged
    assert (calls[Role.PROPOSER], calls[Role.SOLVER], calls[Role.RUBRIC_WRITER]) == (1, 8, int(scoring != "verify"))


def test_a_domain_that_is_asked_for_probabilities_one_criterion_at_a_time_is_asked_so_many_times(texts: Path) -> None:
    synthesis = config(texts, scoring="logprob", score_reference=True).synthesis
    assert calls_per_episode(synthesis, load_domain("pocket"))[Role.JUDGE] == (8 + 1) * CRITERIA


def test_votes_and_the_reference_answer_cost_calls(texts: Path) -> None:
    voted = config(texts, votes=3, score_reference=True, judge={"temperature": 0.7})
    assert calls_per_episode(voted.synthesis, load_domain("health_care"))[Role.JUDGE] == 3 * (8 + 1)


def test_a_plan_counts_the_documents_that_are_there_and_every_problem_of_each(texts: Path) -> None:
    plan = make_plan(config(texts, documents=100, problems_per_document=2))
    assert (plan.documents, plan.wanted) == (6, 100)
    assert "6 of 100 documents" in str(plan_table(plan, priced=False).title)
    assert {role.role: role.calls for role in plan.roles} == {"proposer": 12, "solver": 96, "rubric_writer": 12, "judge": 96}


def test_a_plan_of_fewer_documents_than_wanted_says_which_texts_cannot_be_used(tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts", 6)
    for number in range(3):
        (texts / f"short-{number}.txt").write_text("too short", encoding="utf-8")
    plan = make_plan(config(texts, documents=100))
    assert plan.dropped == {"too_short": 3}
    caption = str(plan_table(plan, priced=False).caption)
    assert caption.startswith("the corpus has no more usable documents; cannot be used: too_short 3")
    enough = make_plan(config(texts, documents=6))
    assert "cannot be used" not in str(plan_table(enough, priced=False).caption)


def test_prices_of_the_model_and_of_a_teacher_are_used_for_their_own_roles(texts: Path) -> None:
    cheap, dear = {"prices": {"generated": 1}}, {**ENDPOINT, "prices": {"generated": 100}}
    data = config(texts, model=cheap).model_dump(mode="json")
    plan = make_plan(parse_config({**data, "teachers": {"judge": dear}}))
    by_role = {role.role: role for role in plan.roles}
    assert by_role["solver"].money == pytest.approx(by_role["solver"].generated / 1e6)
    assert by_role["judge"].money == pytest.approx(by_role["judge"].generated * 100 / 1e6)
    assert plan.money == pytest.approx(sum(role.money for role in plan.roles))


def test_what_all_calls_for_a_problem_share_counts_as_cached_from_the_second_call_on(texts: Path) -> None:
    solver = next(role for role in make_plan(config(texts)).roles if role.role == "solver")
    assert solver.cached == pytest.approx(solver.prompt * 7 / 8, rel=0.01)


def test_hidden_documents_make_the_prompts_of_proposer_and_rubric_writer_shorter(texts: Path) -> None:
    seen, hidden = (make_plan(config(texts, document_for=who)) for who in (["proposer", "rubric_writer"], []))
    assert all(a.prompt > b.prompt for a, b in zip(seen.roles, hidden.roles, strict=True) if a.role in ("proposer",))
    assert seen.roles[2].prompt > hidden.roles[2].prompt


def test_hours_go_by_the_speed_given_else_by_the_one_measured(texts: Path) -> None:
    like = EarlierRun("runs/small", {"solver": 1000.0}, 100.0)
    slow, fast = make_plan(config(texts), like), make_plan(config(texts), like, tokens_per_second=1e9)
    generated = sum(role.generated for role in slow.roles)
    assert slow.hours == pytest.approx(generated / 100 / 3600)  # the run read in these seconds, too
    assert slow.hours > fast.hours > generated / 1e9 / 3600
    assert next(role for role in slow.roles if role.role == "solver").generated == 4 * 8 * 1000
    assert "as in runs/small: solver 1,000; assumed tokens per call: proposer 200," in slow.assumed


def test_an_earlier_run_tells_tokens_per_call_and_speed() -> None:
    usage = {"solver": {"calls": 4, "prompt": 1, "cached": 0, "generated": 400, "money": 0.0}}
    seconds = {"synthesis": 2.0, "training": 0.0, "measure": 0.0}
    like = measured(run_result(round_result(usage=usage, seconds=seconds)), "runs/small")
    assert like == EarlierRun("runs/small", {"solver": 100.0}, 200.0)


def test_an_earlier_run_without_calls_tells_nothing() -> None:
    with pytest.raises(UsageError, match="no call"):
        measured(run_result(round_result()), "runs/new")


def test_a_run_that_could_not_start_has_no_plan(texts: Path) -> None:
    data = config(texts).model_dump(mode="json")
    trained = {"model": {**ENDPOINT, "weights": "m"}, "training": {"type": "dpo"}}
    with pytest.raises(CorpusError, match="6 usable documents, too few for 1 round of 4 and 64 held out"):
        make_plan(parse_config({**data, **trained}))


def test_a_corpus_that_is_too_small_says_what_was_lost_and_which_settings_would_do(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"plain text number {number} " * 3 * (number + 1), encoding="utf-8")
    (tmp_path / "table.xls").write_bytes(b"x")
    data = config(tmp_path).model_dump(mode="json") | {
        "model": {**ENDPOINT, "weights": "m"},
        "training": {"type": "dpo"},
        "filter": {"min_words": 361, "near_duplicates": None},
    }
    with pytest.raises(CorpusError) as caught:
        make_plan(parse_config(data))
    assert str(caught.value).splitlines() == [
        "the corpus has 10 usable documents, too few for 1 round of 4 and 64 held out for measurement: add documents, or lower "
        "measure.documents to 2, or lower filter.min_words (now 361) to 192, or convert files of unknown type (read in folders "
        "are .txt, .md, .jsonl, .json, also with .gz, .bz2, .xz or .zst, and .parquet) or list them by name or glob in "
        "corpus.paths",
        "  of 41 texts 31 cannot be used:",
        f"  too_short 30, first {tmp_path / '0.txt'} (12 words)",
        f"  unknown_type 1, first {tmp_path / 'table.xls'}",
    ]
    assert make_plan(parse_config(data | {"measure": {"documents": 2}})).documents == 4


def test_every_scoring_mode_that_asks_the_judge_has_an_assumed_length() -> None:
    assert all(mode.tokens > 0 for mode in MODES.values() if mode.prompts)
