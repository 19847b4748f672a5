"""A run whose server goes away says so and waits: it goes on when the server is back, and can be resumed when patience ends."""

import threading
import time
from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import RunConfig, SimulatedModel, dump_config
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from pop_selfplay.observer import Unwatched
from tests.integration.faults import count_calls
from tests.integration.runs import simulated_config, write_texts

MODEL = SimulatedChatModel(SimulatedModel(malformed_rate=0.1, seconds_per_call=0.02))


def served_config(tmp_path: Path, base_url: str, patience_s: float) -> RunConfig:
    config = simulated_config(write_texts(tmp_path / "texts", 12)).model_dump()
    config["model"] = {"type": "endpoint", "base_url": base_url, "model": "simulated", "patience_s": patience_s}
    return RunConfig.model_validate(config)


def wait_for_calls(run: Path, calls: int) -> None:
    deadline = time.monotonic() + 60
    while count_calls(run) < calls:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def port_of(base_url: str) -> int:
    return int(base_url.rpartition(":")[2].removesuffix("/v1"))


def test_a_server_that_stays_away_ends_the_run_with_code_4_and_a_resume_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, codes = tmp_path / "run", list[int]()
    with serving(simulated_app(MODEL)) as base_url:
        config = served_config(tmp_path, base_url, patience_s=0.5)
        (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
        arguments = ["run", str(tmp_path / "c.yaml"), "--out", str(run)]
        running = threading.Thread(target=lambda: codes.append(run_command(arguments)))
        running.start()
        wait_for_calls(run, 30)
    running.join(60)
    said = capsys.readouterr()
    assert codes == [4]
    assert "cannot be reached; paused, waiting up to 0.5 s for it" in said.out
    assert "no answer from" in said.err and f"resume with: pop run {run}" in said.err
    kept = count_calls(run)
    assert kept >= 30
    with serving(simulated_app(MODEL), port=port_of(base_url)):
        pop.run(config, run)
        pop.run(config, tmp_path / "undisturbed")
    for out in (run, tmp_path / "undisturbed"):
        pop.export(out, out / "pairs.jsonl")
    assert (run / "pairs.jsonl").read_bytes() == (tmp_path / "undisturbed" / "pairs.jsonl").read_bytes() != b""
    assert count_calls(run) == count_calls(tmp_path / "undisturbed") > kept


class Listening(Unwatched):
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def notice(self, text: str) -> None:
        self.told.append(text)


def test_a_server_that_comes_back_is_waited_for_and_the_user_is_told_both(tmp_path: Path) -> None:
    run, observer = tmp_path / "run", Listening()
    with serving(simulated_app(MODEL)) as base_url:
        config = served_config(tmp_path, base_url, patience_s=60)
        running = threading.Thread(target=pop.run, args=(config, run, observer))
        running.start()
        wait_for_calls(run, 30)
    time.sleep(0.3)
    assert running.is_alive()
    with serving(simulated_app(MODEL), port=port_of(base_url)):
        running.join(60)
    assert not running.is_alive() and (run / "pairs.parquet").is_file()
    told = [text.partition(" ")[2] for text in observer.told if base_url in text]
    assert [text.partition(" (")[0] for text in told] == [
        "cannot be reached; paused, waiting up to 60 s for it",
        "answers again",
    ]
    assert "Connect call failed" in told[0]
