"""Plain batched generation with transformers, for the gates: what the weights do by themselves."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.errors import ModelRefused
from pop_selfplay.records import Message

Generate = Callable[[Sequence[tuple[Message, ...]], float, int, int], list[str]]
"""(conversations, temperature, most new tokens, seed) → completions, in the same order."""

BATCH: Final = 256


def load_generator(model_dir: Path) -> Generate:
    """Return a generator over the model in `model_dir`. Raises ModelRefused when there is none."""
    if not (model_dir / "config.json").is_file():
        raise ModelRefused(f"{model_dir} holds no model (no config.json): name a directory of transformers weights")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model_dir)
        model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelRefused(f"cannot load a model from {model_dir}: {error}") from error
    return generator(model, tokenizer)


def generator(model: Any, tokenizer: Any) -> Generate:
    """Return a generator over a model in memory. It switches the model to evaluation for its time."""

    @torch.no_grad()
    def generate(conversations: Sequence[tuple[Message, ...]], temperature: float, max_tokens: int, seed: int) -> list[str]:
        torch.manual_seed(seed)
        training = model.training
        model.eval()
        prompts = [
            tokenizer.apply_chat_template([m.model_dump() for m in messages], tokenize=False, add_generation_prompt=True)
            for messages in conversations
        ]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {"do_sample": False}
        completions = [""] * len(prompts)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            encoded = tokenizer(
                [prompts[i] for i in places], return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
            ).to(model.device)
            written = model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=max_tokens,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                **sampling,
            )[:, encoded["input_ids"].shape[1] :]
            for i, text in zip(places, tokenizer.batch_decode(written, skip_special_tokens=True), strict=True):
                completions[i] = text
        model.train(training)
        return completions

    return generate
