"""Training and rounds on a Ray cluster of this machine: what one process makes, also after one of its processes was killed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from tests.integration.runs import simulated_config, write_texts
from tests.object_store import object_store
from tests.unit.scale.rows import exports, rows

import pop_selfplay as pop
from pop_selfplay.config import RunConfig, dump_config
from pop_selfplay.runs.session import open_session
from pop_selfplay.selfplay import play_synthesis

pytest.importorskip("ray", reason="needs the extra ray: pip install 'pop-selfplay[ray]'")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

Weights = Callable[[Path], dict[str, Any]]
Played = Callable[[str, Path], Path]

STEPS: Final = 40
FIELDS: Final = {"learning_rate": 1e-4, "max_prompt_length": None, "warmup_steps": 0, "max_steps": STEPS, "save_steps": 4}
TRAININGS: Final = {
    "dpo": {"type": "dpo", "dpo": {**FIELDS, "beta": 0.1}, "batch_size": 2, "held_out_share": 0.2},
    "sft": {"type": "sft", "sft": FIELDS, "batch_size": 2, "held_out_share": 0.2},
}
TWO: Final = {"type": "ray", "training_workers": 2, "cpus_per_worker": 0.5}


@pytest.fixture(scope="module")
def ending_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> str:
    """A random model one in five of whose tokens ends the answer: an answer that its limit cuts off is none."""
    model = shutil.copytree(tiny_model, tmp_path_factory.mktemp("ending") / "model")
    generation = model / "generation_config.json"
    settings = json.loads(generation.read_text(encoding="utf-8"))
    ends = [settings["eos_token_id"], *range(5, json.loads((model / "config.json").read_bytes())["vocab_size"], 5)]
    generation.write_text(json.dumps(settings | {"eos_token_id": ends}), encoding="utf-8")
    return str(model)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory, ending_model: str) -> Played:
    """Make a run whose pairs are made and nothing is trained, for a kind of training."""
    folder = tmp_path_factory.mktemp("played")
    texts = write_texts(folder / "texts", 12)

    def copied(kind: str, to: Path) -> Path:
        if not (folder / kind).exists():
            model = {"type": "local", "path": ending_model, "batch_tokens": 1}
            config = with_teachers(simulated_config(texts, documents=10, candidates=4), model, TRAININGS[kind])
            with open_session(folder / kind, config) as session:
                play_synthesis(session)
        return shutil.copytree(folder / kind, to)

    return copied


def with_teachers(config: RunConfig, model: dict[str, Any], training: dict[str, Any], **others: Any) -> RunConfig:
    """Return `config` with a model that solves and is trained, and the simulated one in all other roles."""
    solver = {"answer_tag": False, "max_tokens": 24}  # a random model writes no tags; one answer at a time is a batch
    synthesis = config.synthesis.changed({"solver": config.synthesis.solver.changed(solver)})
    teachers = {role: {"type": "simulated"} for role in ("proposer", "rubric_writer", "judge")}
    return config.changed({"model": model, "teachers": teachers, "synthesis": synthesis, "training": training} | others)


def start(command: str, run: Path, *options: str, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a command apart: Ray warns of what it does itself."""
    line = [sys.executable, "-m", "pop_selfplay", command, str(run), *options]
    return subprocess.Popen(line, env=os.environ | environment)


def train_on_ray(run: Path, config: RunConfig, **environment: str) -> "subprocess.Popen[bytes]":
    (run / "config.yaml").write_text(dump_config(config.changed({"runner": TWO})), encoding="utf-8")
    return start("train", run, **environment)


def metrics(model: Path) -> list[dict[str, Any]]:
    """Return every log entry but the last, which holds times."""
    return [json.loads(line) for line in (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][:-1]


def losses(model: Path) -> list[float]:
    return [entry["loss"] for entry in metrics(model) if "loss" in entry]


@pytest.fixture(scope="module")
def trained_on_ray(played: Played, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Train on Ray undisturbed, once for each kind of training, and return the run."""
    folder = tmp_path_factory.mktemp("undisturbed")

    def trained(kind: str) -> Path:
        run = folder / kind
        if not run.exists():
            assert train_on_ray(played(kind, run), pop.load_config(run / "config.yaml")).wait(600) == 0
        return run

    return trained


@pytest.mark.parametrize("kind", ["dpo", "sft"])
def test_two_workers_of_a_ray_cluster_train_what_one_process_does(
    played: Played, trained_on_ray: Callable[[str], Path], tmp_path: Path, weights: Weights, kind: str
) -> None:
    one, two = played(kind, tmp_path / "one"), trained_on_ray(kind)
    assert start("train", one).wait(600) == 0
    before, after = (run / "models" / "round-1" for run in (one, two))
    assert len(losses(before)) == STEPS and losses(after) == pytest.approx(losses(before), abs=1e-6)
    a, b = weights(before), weights(after)
    assert a.keys() == b.keys() and all(torch.allclose(a[name], b[name], atol=1e-4) for name in a)
    assert list((two / "models").iterdir()) == [after]


@pytest.mark.parametrize("whose", ["a worker's", "the driver's"])
def test_a_training_goes_on_from_its_checkpoint_to_the_same_weights_after_death(
    played: Played, trained_on_ray: Callable[[str], Path], tmp_path: Path, weights: Weights, whose: str
) -> None:
    undisturbed, killed = trained_on_ray("dpo"), played("dpo", tmp_path / "killed")
    config, at_work = pop.load_config(killed / "config.yaml"), killed / "models" / ".round-1.unfinished"
    process = train_on_ray(killed, config, POP_TEST=str(tmp_path))
    while not (found := sorted(at_work.glob("checkpoint-*/whole"))):
        assert process.poll() is None, "the training ended before anybody was killed"
        time.sleep(0.005)
    reached = int(found[0].parent.name.partition("-")[2])
    victims = train_workers(str(tmp_path))
    assert len(victims) == 2
    if whose == "the driver's":
        process.kill()
        process.wait(60)
        while train_workers(str(tmp_path)):  # which end with it
            time.sleep(0.05)
        process = train_on_ray(killed, config)
    else:
        os.kill(victims[0], signal.SIGKILL)
    after = list[int]()
    while process.poll() is None:
        after += [steps for steps in [steps_in(at_work / "metrics.jsonl")] if steps is not None]
        time.sleep(0.005)
    assert process.wait() == 0 and reached < STEPS
    assert after and min(after) >= reached, "it began anew"
    a, b = (run / "models" / "round-1" for run in (undisturbed, killed))
    assert metrics(a) == metrics(b) and len(losses(b)) == STEPS
    assert all(torch.equal(weights(a)[name], tensor) for name, tensor in weights(b).items())
    assert list((killed / "models").iterdir()) == [b]


def train_workers(mark: str) -> list[int]:
    """Return the processes of a training by a mark in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = f"POP_TEST={mark}".encode() in environ.read_bytes().split(b"\0")
            title = environ.with_name("cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if ours and title.startswith(b"ray::") and b"TrainWorker" in title:
            found.append(int(environ.parent.name))
    return found


def steps_in(file: Path) -> int | None:
    """Return how many steps a training has logged, None while there is no file."""
    try:
        return sum('"loss"' in line for line in file.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return None


@pytest.fixture
def rounds(tmp_path: Path, ending_model: str) -> RunConfig:
    """A run of two rounds whose policy is a tiny model."""
    texts = write_texts(tmp_path / "texts", 14)
    model = {"type": "local", "path": ending_model, "batch_tokens": 1}
    training = {"type": "dpo", "dpo": {**FIELDS, "max_steps": 4}, "batch_size": 2, "held_out_share": 0}
    return with_teachers(simulated_config(texts, documents=6, candidates=3), model, training, rounds=2)


def test_two_rounds_on_ray_whose_models_travel_through_an_object_store_are_those_of_one_machine(
    rounds: RunConfig, tmp_path: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, ray = tmp_path / "local", tmp_path / "ray"
    pop.run(rounds, local)
    with object_store(monkeypatch) as store:
        runner = {"type": "ray", "workers": 2, "shards": 3, "cpus_per_worker": 0.5, "storage": "s3://bucket/rounds"}
        (tmp_path / "ray.yaml").write_text(dump_config(rounds.changed({"runner": runner})), encoding="utf-8")
        assert start("run", tmp_path / "ray.yaml", "--out", str(ray)).wait(600) == 0
        assert "rounds/models/round-1/config.json" in store.objects
    assert exports(ray, tmp_path / "a") == exports(local, tmp_path / "b")
    for round_ in (1, 2):
        a, b = (weights(run / "models" / f"round-{round_}") for run in (local, ray))
        assert all(torch.equal(a[name], tensor) for name, tensor in b.items())
    played = [{row[:4] for row in rows(run, "calls")} for run in (local, ray)]
    assert played[0] == played[1] and any(str(id_).startswith("2/") for id_, *_ in played[1])
