"""An evaluation scores items in the benchmark's own format, pairs two models by item, and repeats nothing that was finished."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inspect_ai import eval_async
from inspect_ai.log import read_eval_log

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ConfigError, ModelUnavailable, RequestRefused, UsageError
from pop_selfplay.evaluation.eval_dir import reporting
from pop_selfplay.evaluation.evaluate import evaluate_in
from pop_selfplay.evaluation.specs import EvalSpec, SuiteEntry, spec_of
from pop_selfplay.stats.intervals import SHARES, clustered_mean
from tests.unit.evaluation.makers import Player, playing, run, write_rows

SUMS = [{"question": f"What is {n} and {n}?", "answer": f"Add them.\n#### {2 * n}"} for n in range(1, 9)]


def adds(question: str) -> str:
    """Return the right answer to a question of SUMS."""
    words = next(line for line in question.splitlines() if line.startswith("What is"))
    return f"ANSWER: {2 * int(words.split()[2])}"


def adds_small(question: str) -> str:
    return adds(question) if any(f"What is {n} and" in question for n in (1, 2, 3)) else "ANSWER: 0"


def test_gsm8k_counts_right_answers_and_pairs_the_difference_by_item(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    result = run(tmp_path / "out", data, "gsm8k", model=playing("a", adds), against=playing("b", adds_small))
    (row,) = result["benchmarks"]
    figure = row["figures"]["accuracy"]
    assert (figure["base"]["mean"], figure["model"]["mean"]) == (0.375, 1.0)
    assert figure["difference"]["mean"] == 0.625 and figure["difference"]["n"] == 8
    assert 0 < figure["difference"]["low"] < 0.625 < figure["difference"]["high"] <= 1
    assert row["lost"] == {"base": {}, "model": {}} and result["regressed"] == []


def test_a_fall_beyond_the_interval_is_a_regression_and_a_small_one_is_not(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    fallen = run(tmp_path / "out", data, "gsm8k", model=playing("b", adds_small), against=playing("a", adds))
    assert fallen["regressed"] == ["gsm8k"]

    def nearly(question: str) -> str:
        return "ANSWER: 0" if "What is 8" in question else adds(question)

    result = run(tmp_path / "out", data, "gsm8k", model=playing("c", nearly), against=playing("a", adds))
    assert result["benchmarks"][0]["figures"]["accuracy"]["difference"]["mean"] < 0 and result["regressed"] == []


def test_two_items_that_fall_prove_no_regression_and_two_that_stay_no_stability(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS[:2])
    right, wrong = playing("a", adds), playing("b", lambda question: "ANSWER: 0")
    fallen = run(tmp_path / "out", data, "gsm8k", model=wrong, against=right)
    difference = fallen["benchmarks"][0]["figures"]["accuracy"]["difference"]
    assert (difference["mean"], difference["low"]) == (-1, -1) and difference["high"] > 0 and fallen["regressed"] == []
    alike = run(tmp_path / "out", data, "gsm8k", model=playing("c", adds), against=right)
    difference = alike["benchmarks"][0]["figures"]["accuracy"]["difference"]
    assert difference["mean"] == 0 and difference["low"] == -difference["high"] < -0.5


def test_the_log_is_inspects_own_and_holds_every_sample(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    result = run(tmp_path / "out", data, "gsm8k", model=playing("a", adds))
    log = read_eval_log(str(tmp_path / "out" / result["benchmarks"][0]["logs"]["model"]))
    assert (log.status, log.eval.task, log.eval.model) == ("success", "gsm8k", "pop/a")
    assert log.samples and len(log.samples) == 8 and log.samples[0].output.completion.startswith("ANSWER:")


def test_few_shot_examples_come_before_the_question(tmp_path: Path) -> None:
    data = write_rows(write_rows(tmp_path / "data", "gsm8k", SUMS[:2]), "gsm8k_train", SUMS[2:])
    player = Player(adds)
    run(tmp_path / "out", data, SuiteEntry(name="gsm8k", options={"fewshot": 3}), model=playing("a", player))
    assert all(r.messages[0].role == "system" and "What is 3 and 3?" in r.messages[0].content for r in player.requests)
    write_rows(data, "gsm8k_train", SUMS[3:])
    run(tmp_path / "out", data, SuiteEntry(name="gsm8k", options={"fewshot": 3}), model=playing("a", player))
    assert "What is 3 and 3?" not in player.requests[-1].messages[0].content  # other examples are another measurement
    with pytest.raises(ConfigError, match="gsm8k_train"):
        run(tmp_path / "out", data, SuiteEntry(name="gsm8k", options={"fewshot": 7}), model=playing("a", player))


def test_math_500_checks_the_boxed_answer_as_mathematics_over_all_epochs(tmp_path: Path) -> None:
    rows = [{"problem": "Halve one.", "answer": "\\frac{1}{2}"}, {"problem": "Root of 18.", "answer": "3\\sqrt{2}"}]
    data = write_rows(tmp_path / "data", "math_500", rows)
    player = Player(lambda question: "So \\boxed{0.5}" if "Halve" in question else "<think>\\boxed{3\\sqrt{2}}</think>It is 4.")
    result = run(tmp_path / "out", data, "math_500", model=playing("a", player))
    assert result["benchmarks"][0]["figures"]["accuracy"]["model"]["mean"] == 0.5
    assert len(player.requests) == 8 and len({request.seed for request in player.requests}) == 8
    assert {request.temperature for request in player.requests} == {0.6}


def test_reasoning_that_never_ended_is_no_answer_whatever_it_had_come_to(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "math_500", [{"problem": "Halve one.", "answer": "0.5"}])
    cut_off = playing("a", lambda question: "<think>Is it \\boxed{0.5}? Let me see")
    result = run(tmp_path / "out", data, "math_500", model=cut_off)
    assert result["benchmarks"][0]["figures"]["accuracy"]["model"]["mean"] == 0
    log = read_eval_log(str(tmp_path / "out" / result["benchmarks"][0]["logs"]["model"]))
    assert log.samples and log.samples[0].output.completion == "" and "Let me see" in str(log.samples[0].output.message.content)


@pytest.mark.parametrize("cells", ["What?,4,5", "What?"])
def test_a_table_with_cells_too_many_or_too_few_is_refused(tmp_path: Path, cells: str) -> None:
    (tmp_path / "gsm8k.csv").write_text(f"question,answer\n{cells}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="row 1 has more or fewer cells than the header"):
        run(tmp_path / "out", tmp_path, "gsm8k", model=playing("a", adds))


def test_a_finished_benchmark_is_not_run_again_and_an_unfinished_one_repeats_no_call(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    calls = 0

    def dies(question: str) -> str:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise ModelUnavailable("the server is down")
        return adds(question)

    with pytest.raises(ModelUnavailable, match="down"):
        run(tmp_path / "out", data, "gsm8k", model=playing("a", dies))
    revived = Player(adds)
    first = run(tmp_path / "out", data, "gsm8k", model=playing("a", revived))
    assert len(revived.requests) == 3 and first["benchmarks"][0]["figures"]["accuracy"]["model"]["mean"] == 1
    again = Player(adds)
    assert run(tmp_path / "out", data, "gsm8k", model=playing("a", again)) == first and again.requests == []


def test_other_data_or_settings_are_another_measurement(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    run(tmp_path / "out", data, "gsm8k", model=playing("a", adds))
    result = run(tmp_path / "out", write_rows(tmp_path / "data", "gsm8k", SUMS[:2]), "gsm8k", model=playing("a", adds))
    assert result["benchmarks"][0]["figures"]["accuracy"]["model"]["n"] == 2


def test_a_refused_request_is_lost_and_counted_and_never_a_wrong_answer(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)

    def refuses(question: str) -> str:
        if "What is 4" in question:
            raise RequestRefused("too long for the context")
        return adds(question)

    result = run(tmp_path / "out", data, "gsm8k", model=playing("a", refuses), against=playing("b", adds))
    (row,) = result["benchmarks"]
    assert row["lost"] == {"base": {}, "model": {"error": 1}}
    assert row["figures"]["accuracy"]["model"] == clustered_mean([1.0] * 7, range(7), SHARES).as_json()
    assert row["figures"]["accuracy"]["difference"]["n"] == 7


def test_a_limit_draws_the_same_items_for_both_models(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    one, other = Player(adds), Player(adds)
    run(tmp_path / "out", data, "gsm8k", model=playing("a", one), against=playing("b", other), limit=3)
    shown = [{request.messages[-1].content for request in player.requests} for player in (one, other)]
    assert len(shown[0]) == 3 and shown[0] == shown[1]


@pytest.mark.parametrize(
    ("rows", "words"),
    [([{"query": "?"}], "row 1 of the data for gsm8k"), ([], "has no rows"), ([*SUMS, SUMS[0]], "two items with the id")],
)
def test_data_in_another_format_is_refused_before_any_call(tmp_path: Path, rows: list[dict[str, str]], words: str) -> None:
    player = Player(adds)
    with pytest.raises(ConfigError, match=words):
        run(tmp_path / "out", write_rows(tmp_path / "data", "gsm8k", rows), "gsm8k", model=playing("a", player))
    assert player.requests == []


def test_a_missing_data_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gsm8k\.jsonl"):
        run(tmp_path / "out", write_rows(tmp_path / "data", "other", SUMS), "gsm8k", model=playing("a", adds))
    with pytest.raises(ConfigError, match="--data-dir"):
        run(tmp_path / "out", tmp_path / "nowhere", "gsm8k", model=playing("a", adds))


def test_two_processes_do_not_work_in_one_place(tmp_path: Path) -> None:
    from pop_selfplay.errors import JournalError
    from pop_selfplay.evaluation.eval_dir import open_eval_dir

    with open_eval_dir(tmp_path), pytest.raises(JournalError, match="another process"), open_eval_dir(tmp_path):
        pass


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from pop_selfplay.evaluation.benchmarks import BENCHMARKS, load_tasks

    for loaded in [name for name in sys.modules if name.startswith("inspect_evals.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, "inspect_evals", None)
    monkeypatch.delitem(sys.modules, "pop_selfplay.evaluation.benchmarks.mathematics", raising=False)
    with pytest.raises(UsageError, match=r"pop-selfplay\[eval\]"):
        load_tasks(BENCHMARKS["gsm8k"])


def test_data_that_cannot_be_fetched_is_a_wrong_config_and_not_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(**_: object) -> None:
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("pop_selfplay.evaluation.benchmarks.mathematics.published", offline)
    with pytest.raises(ConfigError, match=r"gsm8k cannot be loaded.*no route.*--data-dir"):
        run(tmp_path / "out", None, "gsm8k", model=playing("a", adds))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, which shells let what they start in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_stops_the_evaluation_and_loses_no_finished_call(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    calls = 0

    def interrupted(question: str) -> str:
        nonlocal calls
        calls += 1
        if calls == 4:
            signal.raise_signal(signal.SIGINT)
        return adds(question)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", data, "gsm8k", model=playing("a", interrupted))
    rest = Player(adds)
    result = run(tmp_path / "out", data, "gsm8k", model=playing("a", rest))
    assert len(rest.requests) <= 5 and result["benchmarks"][0]["figures"]["accuracy"]["model"]["n"] == 8


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_that_inspect_ai_keeps_to_itself_still_stops_the_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def keeping(*given: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        asyncio.current_task().uncancel()  # type: ignore[union-attr]
        return await eval_async(*given, **options)

    monkeypatch.setattr("pop_selfplay.evaluation.inspect_adapter.eval_async", keeping)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", write_rows(tmp_path / "data", "gsm8k", SUMS), "gsm8k", model=playing("a", adds))


def test_a_model_is_not_held_against_itself(tmp_path: Path) -> None:
    same = playing("a", adds)
    with pytest.raises(UsageError, match="same model"):
        evaluate_in(tmp_path / "out", EvalSpec("gsm8k", [SuiteEntry(name="gsm8k")], same, against=same))


def test_what_waits_long_is_reported_again_and_again() -> None:
    said: list[str] = []

    async def wait() -> None:
        async with reporting(lambda: said.append("still here"), seconds=0.001):
            while len(said) < 3:
                await asyncio.sleep(0.001)

    asyncio.run(wait())
    assert said[:3] == ["still here"] * 3


def test_a_server_that_is_down_is_told_and_other_peoples_warnings_are_not_silenced(tmp_path: Path, logged: list[str]) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS[:2])
    nobody = spec_of("nobody", EndpointModel(base_url="http://127.0.0.1:9/v1", model="m", patience_s=0.2))
    plan, told = EvalSpec("test", [SuiteEntry(name="gsm8k")], nobody, data_dir=data), list[str]()
    with pytest.raises(ModelUnavailable, match="tries in"):
        evaluate_in(tmp_path / "out", plan, told.append)
    assert any("cannot be reached; paused, waiting up to 0.2 s for it" in line for line in told)
    logging.getLogger("somebody").warning("hear me")
    assert "hear me" in logged
