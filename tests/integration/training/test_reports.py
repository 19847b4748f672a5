"""Metrics where `report_to` sends them, besides metrics.jsonl: TensorBoard and Trackio, for real."""

import json
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.forked import Forking

from pop_selfplay.config import DPOTraining
from pop_selfplay.records import PreferencePair

MakePairs = Callable[[int], list[PreferencePair]]

TRAIN = """
import pickle, sys
from tests.integration.training.trainings import train_dpo
train_dpo(*pickle.loads(sys.stdin.buffer.read()))
"""


@pytest.mark.slow
def test_tensorboard_and_trackio_get_the_losses_of_metrics_jsonl(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, forked: Forking
) -> None:
    # In a process of its own: Trackio reads where its files go when it is imported, and leaves threads behind.
    config = DPOTraining(dpo={"report_to": ["tensorboard", "trackio"], "learning_rate": 1e-3}, batch_size=4, held_out_share=0.2)
    out = tmp_path / "run" / "models" / "round-1"
    trained = forked.run(
        TRAIN,
        stdin=pickle.dumps((make_pairs(15), tiny_model, out, config, 1)),
        environment={"TRACKIO_DIR": str(tmp_path / "trackio")},
    )
    assert trained.returncode == 0, trained.stderr
    entries = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [entry["loss"] for entry in entries if "loss" in entry]
    accuracies = [entry["eval_rewards/accuracies"] for entry in entries if "eval_rewards/accuracies" in entry]
    assert len(losses) == len(accuracies) == 3

    (events,) = (out / "runs").iterdir()
    board = EventAccumulator(str(events)).Reload()
    assert [point.value for point in board.Scalars("train/loss")] == pytest.approx(losses)
    assert [point.value for point in board.Scalars("eval/rewards/accuracies")] == pytest.approx(accuracies)

    with closing(sqlite3.connect(tmp_path / "trackio" / "pop-selfplay.db")) as db:
        rows = db.execute("SELECT run_name, metrics FROM metrics ORDER BY id").fetchall()
    assert {name for name, _ in rows} == {"run/round-1"}
    logged = [json.loads(metrics) for _, metrics in rows]
    assert [entry["train/loss"] for entry in logged if "train/loss" in entry] == pytest.approx(losses)
