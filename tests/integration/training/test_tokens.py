"""What TRL makes of our pairs, token by token: the loss falls on the answers and their end, and on nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import DPOTraining
from pop_selfplay.records import PreferencePair
from pop_selfplay.training.dataset import Limits, choose_pairs
from pop_selfplay.training.dpo import make_trainer
from pop_selfplay.training.quiet import quiet_libraries
from pop_selfplay.training.settings import Settings

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
WITH_BOS = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)

QUESTION = "<|im_start|>user\nWhat is 1 plus 1?<|im_end|>\n<|im_start|>assistant\n"
CASES = {
    "ChatML": (CHATML, None, QUESTION, "\n"),
    "a system message": (CHATML, "Add.", "<|im_start|>system\nAdd.<|im_end|>\n" + QUESTION, "\n"),
    "a default system prompt": (DEFAULT_SYSTEM, None, "<|im_start|>system\nBe kind.<|im_end|>\n" + QUESTION, "\n"),
    "a BOS token": (WITH_BOS, None, "<s>[user]What is 1 plus 1?[assistant]", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_only_the_answers_and_their_end_are_trained(
    tmp_path: Path,
    make_tokenizer: Callable[..., Any],
    make_model: Callable[..., str],
    make_pair: Callable[..., PreferencePair],
    case: str,
) -> None:
    template, system, prompt, after_end = CASES[case]
    tokenizer = make_tokenizer(template, adds_bos=True)
    start = make_model(tmp_path / "start", tokenizer)
    chosen = "<think>one and one</think> <answer>2</answer>"
    pair = make_pair(1, chosen=chosen, rejected="No idea, ask another.", system=system)

    batch, width = collate(pair, start, tokenizer, tmp_path / "out")

    for row, answer in enumerate([chosen, "No idea, ask another."]):
        ids, attended, trained = (batch[key][row].tolist() for key in ("input_ids", "attention_mask", "completion_mask"))
        assert (
            tokenizer.decode([i for i, on in zip(ids, attended, strict=True) if on])
            == prompt + answer + "<|im_end|>" + after_end
        )
        assert tokenizer.decode([i for i, on in zip(ids, trained, strict=True) if on]) == answer + "<|im_end|>" + after_end
        completion = [i for i, on in zip(ids, trained, strict=True) if on]
        assert completion.count(tokenizer.eos_token_id) == 1
        assert ids.count(tokenizer.bos_token_id) == (1 if case == "a BOS token" else 0)
        assert all(ids[position] == tokenizer.pad_token_id for position in range(width) if not attended[position])


def collate(pair: PreferencePair, start: str, tokenizer: Any, out: Path) -> tuple[Any, int]:
    """Return the batch that the trainer makes of `pair` (chosen first, then rejected) and its width."""
    settings = Settings.of(DPOTraining())
    chosen = choose_pairs([pair], tokenizer, Limits(None, None), 0, 1)
    with quiet_libraries():
        trainer = make_trainer(chosen, start, tokenizer, settings, out, 1)
        (batch,) = trainer.get_train_dataloader()
    width = batch["input_ids"].shape[1]
    assert width == chosen.longest, "our count of tokens is TRL's"
    return batch, width
