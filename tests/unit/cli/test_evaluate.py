"""`pop eval`: its table, its files, its exit codes."""

import json
from pathlib import Path

import pytest
from inspect_ai._util import entrypoints
from tests.schemas import assert_valid
from tests.unit.evaluation.makers import Player, write_rows
from tests.unit.evaluation.test_evaluate import SUMS, adds, adds_small

from pop_selfplay.cli import run
from pop_selfplay.models.simulated.server import serving, simulated_app
from pop_selfplay.stats.intervals import SHARES, clustered_mean


@pytest.fixture(autouse=True)
def no_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrypoints, "_inspect_ai_eps_loaded_all", True)


class Named(Player):
    def __init__(self, name: str, *args: object) -> None:
        super().__init__(adds if name == "right" else adds_small)
        self.name = name


def test_two_served_models_are_compared_and_a_fall_ends_with_3(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    data = write_rows(tmp_path / "data", "gsm8k", SUMS)
    with serving(simulated_app(Named("right"))) as right, serving(simulated_app(Named("small"))) as small:
        command = ["eval", f"{small}#small", "--against", f"{right}#right", "--suite", "gsm8k", "--data-dir", str(data)]
        assert run([*command, "--out", "out"]) == 0
        shown = capfd.readouterr().out
        low = 100 * clustered_mean([1.0] * 8, range(8), SHARES).low
        assert f"100.0 [{low:.1f}, 100.0]" in shown and "-62.5" in shown and "regressed" in shown
        assert run([*command, "--out", "out", "--fail-on-regression"]) == 3
    assert "gsm8k regressed: the whole" in capfd.readouterr().err
    assert_valid(tmp_path / "out" / "eval.json", "eval")
    result = json.loads((tmp_path / "out" / "eval.json").read_text(encoding="utf-8"))
    assert result["regressed"] == ["gsm8k"] and result["calls"] == {"solver": 16}


def test_json_goes_to_standard_output_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_rows(tmp_path / "data", "gsm8k", SUMS[:2])
    arguments = ["eval", "simulated", "--suite", "gsm8k", "--data-dir", str(data), "--out", str(tmp_path / "out"), "--json"]
    assert run(arguments) == 0
    assert json.loads(capfd.readouterr().out)["benchmarks"][0]["figures"]["accuracy"]["model"]["n"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "nothing"], "no suite"),
        (["--suite", "gsm8k", "--fail-on-regression"], "--against"),
        (["--suite", "gsm8k", "--against", "./nowhere"], "neither a directory"),
        (["--suite", "gsm8k", "--against", "simulated"], "the same model"),
        (["--suite", "gsm8k", "--data-dir", "nowhere"], "--data-dir"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["eval", "simulated", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert words in capfd.readouterr().err


def test_the_example_suite_runs_on_the_example_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[3] / "examples" / "benchmarks"
    arguments = ["--suite", str(folder / "suite.yaml"), "--data-dir", str(folder), "--out", str(tmp_path / "out"), "--json"]
    assert run(["eval", "simulated", *arguments]) == 0
    ifeval, math = json.loads(capfd.readouterr().out)["benchmarks"]
    assert ifeval["figures"]["prompt_strict"]["model"]["n"] == 10 and math["figures"]["accuracy"]["model"]["n"] == 8
