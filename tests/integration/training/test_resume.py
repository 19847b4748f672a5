"""A training that is killed goes on from its last checkpoint, to the very bits of one that was left alone."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from tests.forked import Forking
from tests.integration.training.trainings import train_dpo

from pop_selfplay.config import DPOTraining, LoRA
from pop_selfplay.records import PreferencePair

MakePairs = Callable[[int], list[PreferencePair]]

_KILLED_TWICE: Final = """
import os, pickle, signal, sys
from transformers import TrainerState
from pop_selfplay.training.dpo import DPO

pairs, start, out, config, seed = pickle.loads(sys.stdin.buffer.read())

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def die_at(step):
    def observe(seen):
        if seen.step == step:
            die()
    return observe

def die_in_the_middle_of_a_checkpoint():
    TrainerState.save_to_json = die  # weights and optimiser are written by then

for kill in (lambda: die_at(4), lambda: die_in_the_middle_of_a_checkpoint(), lambda: die_at(11)):
    child = os.fork()
    if child == 0:
        DPO(config).train(pairs, start, out, seed, kill())
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, LoRA(r=2, dropout=0.5)], ids=["all weights", "LoRA with dropout"])
def test_a_killed_training_ends_with_the_bits_of_an_undisturbed_one(
    tiny_model: str,
    tmp_path: Path,
    make_pairs: MakePairs,
    weights: Callable[[Path], dict[str, Any]],
    forked: Forking,
    lora: LoRA | None,
) -> None:
    fields = {"learning_rate": 3e-3, "beta": 0.1, "num_train_epochs": 2, "save_steps": 3, "per_device_train_batch_size": 2}
    config = DPOTraining(dpo=fields, batch_size=4, held_out_share=0.2, lora=lora)
    pairs = make_pairs(30)

    def arguments(name: str) -> tuple[list[PreferencePair], str, Path, DPOTraining, int]:
        return pairs, tiny_model, tmp_path / name, config, 7

    undisturbed = train_dpo(*arguments("undisturbed"))
    assert undisturbed.steps == 12
    killed = forked.run(_KILLED_TWICE, stdin=pickle.dumps(arguments("killed")))
    assert (killed.returncode, killed.stdout.split()) == (0, ["-9", "-9", "-9"]), killed.stderr
    steps = list[int]()
    resumed = train_dpo(*arguments("killed"), lambda step: steps.append(step.step))

    assert steps == [10, 11, 12], "the checkpoint of step 9 is the last whole one"
    assert resumed.model_copy(update={"seconds": undisturbed.seconds}) == undisturbed
    a, b = (weights(tmp_path / name) for name in ("undisturbed", "killed"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert figures(tmp_path / "killed") == figures(tmp_path / "undisturbed")
    assert {path.name for path in tmp_path.iterdir()} == {"undisturbed", "killed"}


def figures(model: Path) -> list[dict[str, Any]]:
    """Return every log entry but the last, which holds times."""
    entries = [json.loads(line) for line in (model / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert "train_runtime" in entries[-1]
    return entries[:-1]


def test_what_another_request_left_behind_is_not_taken_up(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    def stop(step: Any) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    def train(beta: float, observe: Callable[[Any], None]) -> None:
        config = DPOTraining(dpo={"beta": beta, "save_steps": 1}, batch_size=4, held_out_share=0)
        train_dpo(make_pairs(16), tiny_model, tmp_path / "out", config, 7, observe)

    with pytest.raises(KeyboardInterrupt):
        train(0.1, stop)
    assert (tmp_path / ".out.unfinished" / "checkpoint-2").is_dir()
    steps = list[int]()
    train(0.2, lambda step: steps.append(step.step))
    assert steps == [1, 2, 3, 4]


def test_a_resume_is_as_quiet_as_a_beginning(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, capfd: pytest.CaptureFixture[str]
) -> None:
    def stop(step: Any) -> None:
        if step.step == 3:
            raise KeyboardInterrupt

    config = DPOTraining(dpo={"save_steps": 1}, batch_size=4, held_out_share=0)
    with pytest.raises(KeyboardInterrupt):
        train_dpo(make_pairs(16), tiny_model, tmp_path / "out", config, 7, stop)
    train_dpo(make_pairs(16), tiny_model, tmp_path / "out", config, 7)
    assert capfd.readouterr() == ("", "")
