"""DPO on a tiny random model, end to end."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.training.trainings import train_dpo
from tests.learning import Margins, shifted
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.config import DPOTraining
from pop_selfplay.errors import ConfigError, ModelRefused, TrainingError, UsageError
from pop_selfplay.models.chat_template import DEFAULT_TEMPLATE
from pop_selfplay.records import PreferencePair, TrainingStep
from pop_selfplay.training import offline

FAST = {"learning_rate": 3e-3, "beta": 0.1, "gradient_checkpointing": False}
MakePairs = Callable[[int], list[PreferencePair]]


@pytest.mark.learning
def test_training_prefers_the_chosen_answers(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, margins: Margins, capfd: pytest.CaptureFixture[str]
) -> None:
    out, steps = tmp_path / "models" / "round-1", list[TrainingStep]()
    config = DPOTraining(dpo=FAST | {"num_train_epochs": 2})
    result = train_dpo(make_pairs(50), tiny_model, out, config, shifted(1), steps.append)

    assert (result.pairs_trained, result.pairs_held_out, result.dropped, result.steps) == (48, 2, {}, 6)
    assert math.isclose(result.first_loss, math.log(2), rel_tol=1e-5)
    margins.below("loss of the last step", result.last_loss, 0.6)
    assert result.held_out is not None
    margins.above("share of held-out pairs in order", result.held_out.reward_accuracy, 0.9)
    margins.above("reward margin of held-out pairs", result.held_out.reward_margin, 0.1)
    assert result.tokens > 48 * 2 * 2 * 40
    assert [step.step for step in steps] == list(range(1, 7))
    assert {step.steps for step in steps} == {6}
    assert (steps[0].loss, steps[-1].loss) == (result.first_loss, result.last_loss)
    margins.above("share of trained pairs in order", steps[-1].reward_accuracy, 0.9)
    assert capfd.readouterr() == ("", "")
    assert list(out.parent.iterdir()) == [out], "nothing is left beside the model"
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["loss"] for entry in logged if "loss" in entry] == [step.loss for step in steps]


def test_the_result_is_an_ordinary_model_with_its_tokenizer(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Callable[[Path], dict[str, Any]]
) -> None:
    out = tmp_path / "out"
    train_dpo(make_pairs(8), tiny_model, out, DPOTraining(dpo=FAST, batch_size=4), seed=1)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(tiny_model).chat_template
    assert (model.config.eos_token_id, tokenizer.eos_token) == (tokenizer.eos_token_id, "<|im_end|>")
    before = weights(Path(tiny_model))
    assert not any(torch.equal(before[name], weight) for name, weight in weights(out).items() if weight.ndim > 1)
    allowed = {"config.json", "generation_config.json", "model.safetensors", "metrics.jsonl", "README.md"}
    assert {path.name for path in out.iterdir()} - {path.name for path in Path(tiny_model).iterdir()} <= allowed


def test_the_same_pairs_and_seed_give_the_same_weights_bit_for_bit(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Callable[[Path], dict[str, Any]]
) -> None:
    pairs = make_pairs(40)
    config = DPOTraining(dpo=FAST, batch_size=4)
    results = [
        train_dpo(given, tiny_model, tmp_path / name, config, seed)
        for name, given, seed in [("a", pairs, 1), ("b", pairs[::-1], 1), ("c", pairs, 2)]
    ]
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not all(torch.equal(a[name], c[name]) for name in a)
    assert results[0].model_copy(update={"seconds": 0}) == results[1].model_copy(update={"seconds": 0})


@pytest.mark.learning
def test_passes_and_checkpointing_change_the_memory_and_not_the_result(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Callable[[Path], dict[str, Any]], margins: Margins
) -> None:
    for name, dpo_fields in {
        "one pass": FAST,
        "passes": FAST | {"per_device_train_batch_size": 2},
        "checkpointed": FAST | {"gradient_checkpointing": True},
        "no precomputing": FAST | {"precompute_ref_log_probs": False},
        "no padding": FAST | {"padding_free": True, "per_device_train_batch_size": 4},
    }.items():
        train_dpo(
            make_pairs(16),
            tiny_model,
            tmp_path / name,
            DPOTraining(dpo=dpo_fields, batch_size=8, held_out_share=0),
            seed=shifted(1),
        )
    expected = weights(tmp_path / "one pass")
    for name in ("passes", "checkpointed", "no precomputing", "no padding"):
        far = max((weight - expected[key]).abs().max().item() for key, weight in weights(tmp_path / name).items())
        margins.below(f"largest difference of a weight, {name}", far, 1e-4)


def test_held_out_figures_are_of_whole_answers_whatever_the_loss_makes_of_them(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs
) -> None:
    fields = FAST | {"ld_alpha": 0.1, "learning_rate": 0.0, "max_steps": 1}
    result = train_dpo(make_pairs(16), tiny_model, tmp_path / "out", DPOTraining(dpo=fields, held_out_share=0.5), seed=1)
    assert result.held_out is not None
    assert result.held_out.reward_margin == pytest.approx(0, abs=1e-4), "a model that was not moved gained nothing"


def test_a_likelihood_term_can_be_added(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST | {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.1]})
    result = train_dpo(make_pairs(8), tiny_model, tmp_path / "out", config, seed=1)
    # A random model spreads its belief over the vocabulary, so that the likelihood term starts near the log of its size.
    assert math.isclose(result.first_loss, math.log(2) + 0.1 * math.log(260), rel_tol=0.02)


def test_the_model_keeps_the_precision_of_its_start(
    tmp_path: Path,
    make_model: Callable[..., str],
    make_tokenizer: Callable[..., Any],
    make_pairs: MakePairs,
    weights: Callable[[Path], dict[str, Any]],
) -> None:
    start = make_model(tmp_path / "start", make_tokenizer(), dtype=torch.bfloat16)
    train_dpo(make_pairs(4), start, tmp_path / "out", DPOTraining(dpo=FAST), seed=1)
    trained = weights(tmp_path / "out")
    assert trained.keys() == weights(Path(start)).keys(), "a weight with two names is stored once"
    assert {weight.dtype for weight in trained.values()} == {torch.bfloat16}
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype is torch.bfloat16


def test_too_long_pairs_are_counted_and_dropped(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, make_pair: Callable[..., PreferencePair]
) -> None:
    pairs = [*make_pairs(4), make_pair(5, chosen="on and on " * 20), make_pair(6, system="Mind this. " * 20)]
    config = DPOTraining(dpo=FAST | {"max_length": 200, "max_prompt_length": 150}, held_out_share=0)
    result = train_dpo(pairs, tiny_model, tmp_path / "out", config, seed=1)
    assert result.dropped == {"prompt_too_long": 1, "too_long": 1}
    assert (result.pairs_trained, result.pairs_held_out, result.held_out) == (4, 0, None)


def test_a_model_that_is_broken_from_the_start_is_told(
    tmp_path: Path, make_model: Callable[..., str], make_tokenizer: Callable[..., Any], make_pairs: MakePairs
) -> None:
    start = make_model(tmp_path / "start", make_tokenizer(), weight=math.nan)
    with pytest.raises(TrainingError, match="not a number before training"):
        train_dpo(make_pairs(8), start, tmp_path / "out", DPOTraining(dpo=FAST, held_out_share=0.5), seed=1)
    with pytest.raises(TrainingError, match="the loss became nan at step 1 of 1"):
        train_dpo(make_pairs(8), start, tmp_path / "out", DPOTraining(dpo=FAST, held_out_share=0), seed=1)
    assert not (tmp_path / "out").exists()


def test_a_training_that_diverges_ends_with_advice_and_no_model(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST | {"learning_rate": math.inf, "warmup_steps": 0}, batch_size=4, held_out_share=0)
    with pytest.raises(TrainingError, match=r"the loss became nan at step 2 of 4.*learning_rate.*metrics\.jsonl"):
        train_dpo(make_pairs(16), tiny_model, tmp_path / "out", config, seed=1)
    assert not (tmp_path / "out").exists()
    metrics = tmp_path / ".out.unfinished" / "metrics.jsonl"
    assert [json.loads(line)["loss"] for line in metrics.read_text(encoding="utf-8").splitlines()][1] == "nan"


def test_weights_that_break_in_the_very_last_step_are_not_saved(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    config = DPOTraining(dpo=FAST | {"learning_rate": math.inf, "warmup_steps": 0}, held_out_share=0)
    with pytest.raises(TrainingError, match="weights are not numbers after training"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", config, seed=1)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_save_leaves_no_finished_model_and_the_next_training_only_saves_again(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(directory: Path, result: Path, out: Path) -> None:
        (directory / "half-written").touch()
        raise KeyboardInterrupt

    config, out = DPOTraining(dpo=FAST, held_out_share=0.3, batch_size=4), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(offline, "publish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_dpo(make_pairs(12), tiny_model, out, config, seed=1)
    assert not out.exists()

    steps = list[TrainingStep]()
    again = train_dpo(make_pairs(12), tiny_model, out, config, seed=1, observe=steps.append)
    whole = train_dpo(make_pairs(12), tiny_model, tmp_path / "whole", config, seed=1)
    assert steps == [], "every step was taken before the interruption"
    assert again.model_copy(update={"seconds": whole.seconds}) == whole
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "whole").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"out", "whole"}


def test_a_finished_model_is_never_written_over(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    with pytest.raises(UsageError, match="exists already"):
        train_dpo(make_pairs(4), tiny_model, tmp_path, DPOTraining(), seed=1)


def test_nothing_is_written_for_a_request_that_makes_no_sense(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    with pytest.raises(ConfigError, match="did you mean beta"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", DPOTraining(dpo={"betta": 1}), seed=1)
    with pytest.raises(TrainingError, match="no preference pairs"):
        train_dpo([], tiny_model, tmp_path / "out", DPOTraining(), seed=1)
    with pytest.raises(ModelRefused, match="nowhere"):
        train_dpo(make_pairs(4), str(tmp_path / "nowhere"), tmp_path / "out", DPOTraining(), seed=1)
    assert list(tmp_path.iterdir()) == []


def test_training_without_a_step_is_no_training(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    with pytest.raises(TrainingError, match="num_train_epochs"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", DPOTraining(dpo={"num_train_epochs": 0}), seed=1)


def test_a_base_model_is_trained_and_saved_with_the_default_template(
    tmp_path: Path, make_model: Callable[..., str], make_tokenizer: Callable[..., Any], make_pairs: MakePairs
) -> None:
    start = make_model(tmp_path / "start", make_tokenizer(None))
    train_dpo(make_pairs(4), start, tmp_path / "out", DPOTraining(), seed=1)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == DEFAULT_TEMPLATE.read_text(encoding="utf-8")


def test_the_process_is_left_as_it_was(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    threads, environment = torch.get_num_threads(), dict(os.environ)
    train_dpo(make_pairs(4), tiny_model, tmp_path / "out", DPOTraining(dpo=FAST), seed=1)
    assert (torch.get_num_threads(), dict(os.environ)) == (threads, environment)


def test_too_little_gpu_memory_is_told_with_what_to_do(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    def full(step: TrainingStep) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")

    with pytest.raises(TrainingError, match=r"per_device_train_batch_size.*tried to allocate 2 GiB"):
        train_dpo(make_pairs(4), tiny_model, tmp_path / "out", DPOTraining(dpo=FAST), seed=1, observe=full)
