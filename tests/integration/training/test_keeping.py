"""The best checkpoint is the result, and a training that runs the wrong way ends."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.training.trainings import train_dpo
from transformers import TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import TrainingError
from pop_selfplay.records import PreferencePair
from pop_selfplay.results.run import HeldOut
from pop_selfplay.training.checkpoints import KeepBest, as_good, best_folder, read_best
from pop_selfplay.training.dpo import PairTrainer
from pop_selfplay.training.offline_trainer import LogProbs

MakePairs = Callable[[int], list[PreferencePair]]
Weights = Callable[[Path], dict[str, Any]]
FAST = {"learning_rate": 3e-3, "beta": 0.1, "gradient_checkpointing": False, "eval_steps": 1, "save_steps": 2}


def shares(monkeypatch: pytest.MonkeyPatch, right: Sequence[int], held_out: int) -> None:
    """Let the k-th evaluation find `right[k]` of the held-out pairs in order, whatever the weights are."""
    evaluations = iter(right)

    def found(self: PairTrainer) -> LogProbs:
        assert self.before is not None
        count = next(evaluations)
        gains = [1.0] * count + [-1.0] * (held_out - count)
        return LogProbs([old + gain for old, gain in zip(self.before.chosen, gains, strict=True)], list(self.before.rejected))

    monkeypatch.setattr(PairTrainer, "held_out_log_probs", found)


def steps_until(last: int, pairs: list[PreferencePair], start: str, out: Path, weights: Weights) -> dict[str, Any]:
    """Return the weights of a training that is stopped after `last` steps and keeps them."""
    config = DPOTraining(dpo=FAST | {"eval_strategy": "no"}, batch_size=4, held_out_share=0.3, keep_best=False)
    seen = list[int]()

    def stop(step: Any) -> None:
        seen.append(step.step)
        if step.step == last + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_dpo(pairs, start, out, config.model_copy(update={"dpo": config.dpo | {"save_steps": last}}), 1, stop)
    return weights(out.with_name(f".{out.name}.unfinished") / f"checkpoint-{last}")


@pytest.mark.parametrize(
    ("right", "best"), [([1, 5, 3, 2], 2), ([1, 2, 3, 4], 4), ([4, 1, 4, 1], 3), ([5, 3, 4, 5], 4), ([0, 0, 0, 0], 4)], ids=str
)
def test_the_result_is_the_last_step_that_is_as_good_on_held_out_pairs_as_the_best(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch, right: list[int], best: int
) -> None:
    shares(monkeypatch, right, held_out=6)
    config = DPOTraining(dpo=FAST, batch_size=4, held_out_share=0.3)
    result = train_dpo(make_pairs(20), tiny_model, tmp_path / "out", config, seed=1)
    assert (result.steps, result.best_step, result.pairs_held_out) == (4, best, 6)
    assert result.held_out is not None and result.held_out.reward_accuracy == right[best - 1] / 6
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()], "no checkpoint stays"


@pytest.mark.parametrize(
    ("share", "highest", "pairs", "good"),
    [(0.8, 0.8, 10, True), (0.75, 0.8, 25, True), (0.71, 0.8, 25, False), (0.75, 0.8, 160, False), (0.99, 1.0, 10, False)],
)
def test_one_standard_error_is_as_good(share: float, highest: float, pairs: int, good: bool) -> None:
    assert as_good(share, highest, pairs) is good


def test_the_weights_of_the_result_are_those_of_its_best_step(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch, weights: Weights
) -> None:
    pairs = make_pairs(20)
    after_two = steps_until(2, pairs, tiny_model, tmp_path / "stopped", weights)
    shares(monkeypatch, [1, 5, 3, 2], held_out=6)
    config = DPOTraining(dpo=FAST, batch_size=4, held_out_share=0.3)
    train_dpo(pairs, tiny_model, tmp_path / "best", config, seed=1)
    best = weights(tmp_path / "best")
    assert all(torch.equal(best[name], weight) for name, weight in after_two.items())


def test_the_last_step_is_the_result_where_the_best_is_not_wanted(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares(monkeypatch, [1, 5, 3, 2], held_out=6)
    config = DPOTraining(dpo=FAST, batch_size=4, held_out_share=0.3, keep_best=False)
    result = train_dpo(make_pairs(20), tiny_model, tmp_path / "out", config, seed=1)
    assert result.best_step is None
    assert result.held_out is not None and result.held_out.reward_accuracy == 2 / 6


def test_the_figures_are_those_of_the_last_step_also_where_it_was_not_evaluated(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares(monkeypatch, [1, 5], held_out=6)
    config = DPOTraining(dpo=FAST | {"eval_steps": 3}, batch_size=4, held_out_share=0.3, keep_best=False)
    result = train_dpo(make_pairs(20), tiny_model, tmp_path / "out", config, seed=1)
    assert result.steps == 4
    assert result.held_out is not None and result.held_out.reward_accuracy == 5 / 6


def test_weights_that_are_kept_already_are_not_written_once_more(tmp_path: Path) -> None:
    figures = HeldOut(likelier_before=0.5, likelier_after=1, reward_accuracy=1, reward_margin=0.1)

    def keep(save: Callable[[Path], None]) -> None:
        state = TrainerState(global_step=3)
        keep = KeepBest(tmp_path, HeldOut, save, lambda: figures, partial(as_good, pairs=10))
        keep.on_evaluate(TrainingArguments(tmp_path), state, TrainerControl())

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    keep(lambda folder: folder.mkdir())
    keep(interrupted)  # the same step again, after going on from a checkpoint before it
    best = read_best(tmp_path, HeldOut)
    assert best is not None and best_folder(tmp_path, best.step).is_dir()


def test_held_out_pairs_that_fall_under_chance_end_the_training(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares(monkeypatch, [8, 0], held_out=16)
    config = DPOTraining(dpo=FAST, batch_size=4, held_out_share=0.5)
    message = r"after 2 steps only 0% of 16 held-out pairs are in order, fewer than by chance.*learning_rate.*metrics\.jsonl"
    with pytest.raises(TrainingError, match=message):
        train_dpo(make_pairs(32), tiny_model, tmp_path / "out", config, seed=1)
    assert not (tmp_path / "out").exists()


def test_pairs_that_lose_step_after_step_end_the_training(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    fields = FAST | {"num_train_epochs": 30, "warmup_steps": 0, "save_strategy": "no"}
    config = DPOTraining(dpo=fields, batch_size=4, held_out_share=0)
    patched = PairTrainer._compute_loss

    def uphill(self: PairTrainer, *args: Any) -> Any:
        return -patched(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PairTrainer, "_compute_loss", uphill)
        with pytest.raises(TrainingError, match=r"for 20 logged steps until step 2[12] of 30, rejected answers gained more"):
            train_dpo(make_pairs(4), tiny_model, tmp_path / "out", config, seed=1)


def test_every_evaluation_is_in_the_metrics(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST | {"eval_steps": 2}, batch_size=4, held_out_share=0.3)
    result = train_dpo(make_pairs(20), tiny_model, tmp_path / "out", config, seed=1)
    entries = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [(entry["step"], entry["eval_rewards/accuracies"]) for entry in entries if "eval_rewards/accuracies" in entry]
    assert [step for step, _ in found] == [2, 4]
    assert result.held_out is not None and found[-1][1] == result.held_out.reward_accuracy
