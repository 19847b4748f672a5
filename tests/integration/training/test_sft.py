"""Supervised fine-tuning on the chosen answers, on a tiny random model, end to end."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.learning import Margins, shifted
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.config import LoRA, SFTTraining
from pop_selfplay.errors import ConfigError, TrainingError
from pop_selfplay.records import PreferencePair, SFTStep
from pop_selfplay.results.run import SFTResult
from pop_selfplay.training.data import encode_answer, encode_pair
from pop_selfplay.training.loading import load_tokenizer
from pop_selfplay.training.offline_trainer import AnswerLogProbs
from pop_selfplay.training.sft import SFT, AnswerTrainer

FAST = {"learning_rate": 3e-3, "gradient_checkpointing": False}
MakePairs = Callable[[int], list[PreferencePair]]
MakePair = Callable[..., PreferencePair]
Weights = Callable[[Path], dict[str, Any]]


def train(
    pairs: list[PreferencePair], start: str, out: Path, config: SFTTraining, observe: Callable[[Any], None] | None = None
) -> SFTResult:
    result = SFT(config).train(pairs, start, out, shifted(1), observe)
    assert isinstance(result, SFTResult)
    return result


@pytest.mark.learning
def test_the_chosen_answers_become_likelier_than_they_were(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, margins: Margins, capfd: pytest.CaptureFixture[str]
) -> None:
    out, steps = tmp_path / "models" / "round-1", list[SFTStep]()
    config = SFTTraining(sft=FAST | {"num_train_epochs": 4}, held_out_share=0.2)
    result = train(make_pairs(40), tiny_model, out, config, steps.append)

    assert (result.pairs_trained, result.pairs_held_out, result.dropped, result.steps) == (32, 8, {}, 8)
    assert result.held_out is not None and result.held_out.likelier == 1
    margins.below("held-out loss against the start's", result.held_out.loss_after / result.held_out.loss_before, 0.99)
    margins.below("loss of the last step against the first", result.last_loss / result.first_loss, 0.99)
    assert [step.step for step in steps] == [*range(1, 9)] and steps[0].told.startswith("loss ")
    assert capfd.readouterr() == ("", "")

    assert AutoModelForCausalLM.from_pretrained(out).config.dtype == torch.float32
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "SFT on 32 best answers" in card and "loss after" in card.replace("_", " ")
    assert AutoTokenizer.from_pretrained(out).chat_template == load_tokenizer(tiny_model, {}).chat_template


def test_loss_falls_on_the_answer_alone(tiny_model: str, tmp_path: Path, make_pair: MakePair) -> None:
    pair = make_pair(1, chosen="It is 2, and no other.", system="Add.")
    config = SFTTraining(sft=FAST | {"max_prompt_length": None, "save_strategy": "no"}, held_out_share=0)
    result = train([pair], tiny_model, tmp_path / "out", config)

    tokenizer, model = load_tokenizer(tiny_model, {}), AutoModelForCausalLM.from_pretrained(tiny_model)
    tokens = encode_answer(pair, tokenizer)
    assert (tokens.prompt, tokens.answer) == encode_pair(pair, tokenizer)[:2], "the same tokens as for DPO"
    with torch.no_grad():
        log_probs = model(torch.tensor([tokens.prompt + tokens.answer])).logits[0].log_softmax(-1)
    places = range(len(tokens.prompt) - 1, len(tokens.prompt) + len(tokens.answer) - 1)
    each = [log_probs[place, token].item() for place, token in zip(places, tokens.answer, strict=True)]
    assert result.first_loss == pytest.approx(-sum(each) / len(each), rel=1e-4)
    assert result.tokens == tokens.longest


def test_passes_without_padding_give_the_same_losses(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    pairs = [pair.model_copy(update={"chosen": pair.chosen * (n % 3 + 1)}) for n, pair in enumerate(make_pairs(12))]
    losses = []
    for padding_free in (False, True):
        fields = FAST | {"padding_free": padding_free, "per_device_train_batch_size": 4}
        config = SFTTraining(sft=fields, batch_size=4, held_out_share=0.3)
        result = train(pairs, tiny_model, tmp_path / str(padding_free), config)
        assert result.held_out is not None
        losses.append((result.first_loss, result.held_out.loss_before, result.held_out.loss_after))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_only_the_length_of_the_chosen_answer_counts(tiny_model: str, tmp_path: Path, make_pair: MakePair) -> None:
    pairs = [make_pair(1, rejected="no " * 200), make_pair(2, chosen="so " * 200), make_pair(3)]
    config = SFTTraining(sft=FAST | {"max_length": 200, "max_prompt_length": 150}, held_out_share=0)
    result = train(pairs, tiny_model, tmp_path / "out", config)
    assert (result.pairs_trained, result.dropped) == (2, {"too_long": 1})
    with pytest.raises(TrainingError, match=r"raise training\.sft\.max_prompt_length"):
        train(pairs, tiny_model, tmp_path / "none", SFTTraining(sft={"max_length": 10}))


@pytest.mark.parametrize("lora", [None, LoRA(r=2, dropout=0.5)], ids=["all weights", "LoRA with dropout"])
def test_an_interrupted_training_ends_with_the_bits_of_an_undisturbed_one(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, weights: Weights, lora: LoRA | None
) -> None:
    config = SFTTraining(sft=FAST | {"num_train_epochs": 2, "save_steps": 3}, batch_size=4, held_out_share=0.2, lora=lora)
    undisturbed = train(make_pairs(20), tiny_model, tmp_path / "undisturbed", config)
    seen = list[int]()

    def stop(step: SFTStep) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(make_pairs(20), tiny_model, tmp_path / "stopped", config, stop)
    resumed = train(make_pairs(20), tiny_model, tmp_path / "stopped", config, lambda step: seen.append(step.step))
    assert seen[0] == 4, "the checkpoint of step 3 is the last one"
    assert resumed.model_copy(update={"seconds": undisturbed.seconds}) == undisturbed
    a, b = (weights(tmp_path / name) for name in ("undisturbed", "stopped"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert not any("lora" in name for name in a), "merged into a plain model"


def found(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Let the k-th look at the held-out answers, the first before training, find this loss, whatever the weights are."""
    looks: Iterator[float] = iter(losses)

    def held_out(self: AnswerTrainer) -> AnswerLogProbs:
        count = len(self.eval_dataset)
        return AnswerLogProbs([-10 * next(looks)] * count, [10] * count)

    monkeypatch.setattr(AnswerTrainer, "held_out_log_probs", held_out)


def test_the_result_is_the_step_with_the_lowest_held_out_loss(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, [2.0, 1.5, 1.2, 1.4, 1.3])
    config = SFTTraining(sft=FAST | {"eval_steps": 1}, batch_size=4, held_out_share=0.3)
    result = train(make_pairs(20), tiny_model, tmp_path / "out", config)
    assert (result.steps, result.best_step) == (4, 2)
    assert result.held_out is not None and result.held_out.loss_after == pytest.approx(1.2)
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [entry["eval_loss"] for entry in metrics if "eval_loss" in entry] == pytest.approx([1.5, 1.2, 1.4, 1.3])


def test_held_out_answers_that_all_become_less_likely_end_the_training(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch, [2.0, 2.5])
    config = SFTTraining(sft=FAST | {"eval_steps": 1}, batch_size=4, held_out_share=0.5)
    message = r"after 1 steps only 0% of 16 held-out answers became likelier, .*training\.sft\.learning_rate.*metrics\.jsonl"
    with pytest.raises(TrainingError, match=message):
        train(make_pairs(32), tiny_model, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_four_bits_need_a_gpu(tiny_model: str, tmp_path: Path, make_pairs: MakePairs) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        train(make_pairs(4), tiny_model, tmp_path / "out", SFTTraining(lora=LoRA(), quantization="4bit"))
