"""`pop train` in two processes: what one process would train, and only the first one writes."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.forked import POP, Ended, Forking
from tests.integration.runs import write_texts

import pop_selfplay as pop
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import parse_config
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from pop_selfplay.runs.session import open_session, read_session
from pop_selfplay.selfplay import play_synthesis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Path:
    """A run on a simulated server whose weights are the tiny model, with its pairs made and nothing trained."""
    folder = tmp_path_factory.mktemp("processes")
    with serving(simulated_app(SimulatedChatModel(pop.config.SimulatedModel()))) as base_url:
        config = parse_config(
            {
                "domain": "health_care",
                "corpus": {"type": "files", "paths": [str(write_texts(folder / "texts", 12))]},
                "model": {"type": "endpoint", "base_url": base_url, "model": "simulated", "weights": tiny_model},
                "synthesis": {"documents": 10, "candidates": 4},
                "training": {
                    "type": "dpo",
                    "dpo": {
                        "learning_rate": 1e-3,
                        "beta": 0.1,
                        "max_prompt_length": None,
                        "warmup_steps": 0,
                        "max_steps": 3,  # whole batches only: several processes fill up the last one of an epoch
                    },
                    "batch_size": 2,
                    "held_out_share": 0.2,
                },
                "measure": {"type": "none"},
            }
        )
        with open_session(folder / "run", config) as session:
            play_synthesis(session)
    return folder / "run"


def train_in_two(forked: Forking, run: Path, *options: str) -> list[Ended]:
    """Start `pop train` as a launcher would, in two processes on this machine's processor, and wait for both."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    started = [
        forked.start(POP, "train", run, *options, environment={**world, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(2)
    ]
    return [process.wait() for process in started]


def losses(model: Path) -> list[float]:
    lines = (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["loss"] for entry in map(json.loads, lines) if "loss" in entry]


def alike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Tell whether weights are the same but for rounding: where a gradient is nearly 0, Adam makes a whole step of its sign."""
    apart = torch.cat([(a[name] - b[name]).abs().flatten() for name in a])
    return bool(apart.mean() < 1e-6 and (apart > 1e-4).float().mean() < 2e-3)


def test_two_processes_train_what_one_does_and_only_the_first_one_writes(
    synthesised: Path, tmp_path: Path, weights: Callable[[Path], dict[str, Any]], forked: Forking
) -> None:
    one, two = (shutil.copytree(synthesised, tmp_path / name) for name in ("one", "two"))
    assert run_command(["train", str(one)]) == 0
    first, second = train_in_two(forked, two)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "trained model in" in first.stdout
    assert (second.stdout, second.stderr) == ("", "")

    before, after = (losses(run / "models" / "round-1") for run in (one, two))
    assert len(before) == 3 and after == pytest.approx(before, abs=1e-4)  # summed in another order
    a, b = (weights(run / "models" / "round-1") for run in (one, two))
    assert a.keys() == b.keys() and alike(a, b)
    assert list((two / "models").iterdir()) == [two / "models" / "round-1"]
    results = [read_session(run, lambda session: json.loads(session.journal.noted("training/1") or "")) for run in (one, two)]
    held_out = [result.pop("held_out") for result in results]
    assert held_out[0] == pytest.approx(held_out[1], abs=1e-4)
    one_says, two_say = ({**result, "dropped": None, "seconds": 0} for result in results)
    assert one_says == pytest.approx(two_say, abs=1e-4)


def test_two_processes_fine_tune_as_one_does(
    synthesised: Path, tmp_path: Path, weights: Callable[[Path], dict[str, Any]], forked: Forking
) -> None:
    fields = "{learning_rate: 1e-3, max_prompt_length: null, warmup_steps: 0, max_steps: 3}"
    options = ["--set", "training.type=sft", "--set", f"training.sft={fields}", "--set", "training.batch_size=2"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert run_command(["train", str(synthesised), "--out", str(one), *options]) == 0
    first, second = train_in_two(forked, synthesised, "--out", str(two), *options)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert len(losses(one)) == 3 and losses(two) == pytest.approx(losses(one), abs=1e-4)
    a, b = weights(one), weights(two)
    assert a.keys() == b.keys() and alike(a, b)


def test_when_the_first_has_nothing_to_train_the_others_go_home(synthesised: Path, tmp_path: Path, forked: Forking) -> None:
    run = shutil.copytree(synthesised, tmp_path / "run")
    (run / "models" / "round-1").mkdir(parents=True)
    first, second = train_in_two(forked, run)
    assert first.returncode == 2 and "every round" in first.stderr
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_a_run_is_not_played_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "config.yaml").touch()
    assert run_command(["run", str(tmp_path)]) == 2
    assert "only `pop train`" in capsys.readouterr().err


def test_another_model_is_trained_on_the_same_pairs_and_the_run_stays_as_it_is(
    synthesised: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def contents() -> dict[str, bytes]:
        # A reader of the journal may leave SQLite's two helper files beside it.
        return {file.name: file.read_bytes() for file in synthesised.iterdir() if not file.name.startswith("run.db-")}

    before = contents()
    out = tmp_path / "sweep" / "hot"
    assert run_command(["train", str(synthesised), "--out", str(out), "--set", "training.dpo.beta=0.5"]) == 0
    assert (out / "model.safetensors").is_file() and "beta: 0.5" in (out / "README.md").read_text(encoding="utf-8")
    assert contents() == before

    assert run_command(["train", str(synthesised), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    other = ["train", str(synthesised), "--out", str(tmp_path / "other"), "--set", "synthesis.candidates=9"]
    assert run_command(other) == 2
    assert "only training.* and seed" in capsys.readouterr().err
    assert run_command(["train", str(synthesised), "--out", str(tmp_path / "other"), "--round", "3"]) == 2
    assert "--round 3 starts from the model of round 2" in capsys.readouterr().err
    assert run_command(["train", str(synthesised), "--set", "seed=3"]) == 2
    assert "need --out" in capsys.readouterr().err
