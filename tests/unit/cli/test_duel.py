"""`pop duel`: its table, its files, its exit codes."""

import json
from pathlib import Path

import pytest
from tests.schemas import assert_valid
from tests.unit.evaluation.makers import Player
from tests.unit.evaluation.test_duel import a_file, fair, likes

from pop_selfplay.cli import run
from pop_selfplay.models.simulated.server import serving, simulated_app


class Named(Player):
    def __init__(self, name: str) -> None:
        answers = {"good": lambda q: f"a good answer to {q}", "bad": lambda q: f"an answer to {q}", "judge": likes(fair)}
        super().__init__(answers[name])
        self.name = name


def test_a_duel_writes_figures_and_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    with (
        serving(simulated_app(Named("good"))) as a,
        serving(simulated_app(Named("bad"))) as b,
        serving(simulated_app(Named("judge"))) as judge,
    ):
        command = ["duel", f"{a}#good", f"{b}#bad", "--prompts", str(a_file(tmp_path)), "--judge", f"{judge}#judge"]
        assert run([*command, "--out", str(out), "--limit", "4"]) == 0
        assert "4 / 0 / 0" in capfd.readouterr().out
        assert run([*command, "--out", str(out), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["wins"] == 6
    assert json.loads((out / "duel.json").read_text(encoding="utf-8"))["wins"] == 6
    assert_valid(out / "duel.json", "duel")
    assert len((out / "items.jsonl").read_text(encoding="utf-8").splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--prompts FILE or --run RUN"),
        (["--prompts", "nowhere.jsonl"], "there is no file nowhere.jsonl: check the name"),
        (["--run", "."], "not a run directory"),
        (["--prompts", "x.jsonl", "--samples", "3"], "--temperature"),
        (["--prompts", "x.jsonl", "--round", "2"], "--round 2"),
        (["--run", ".", "--domain", "math"], "--domain math"),
        (["--run", ".", "--max-tokens", "9"], "--max-tokens 9"),
        (["--run", ".", "--judge-max-tokens", "9"], "--judge-max-tokens 9"),
        (["--run", ".", "--constrain", "auto"], "--constrain auto"),
    ],
)
def test_wrong_usage_is_2(
    arguments: list[str], words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["duel", "simulated", "simulated", "--judge", "simulated", *arguments]) == 2
    assert words in capfd.readouterr().err


def test_a_model_does_not_fight_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["duel", "simulated", "simulated", "--judge", "pocket", "--prompts", str(a_file(tmp_path))]) == 2
    assert "same model" in capfd.readouterr().err
