"""A tiny random model with a tokenizer, made once per session, and makers of pairs for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pop_selfplay.records import Message, PreferencePair

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHATML_WITH_DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
WITH_BOS = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content.split('</think>')[-1] if message.role == 'assistant' else message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(template: str = CHATML, *, adds_bos: bool = False) -> Any:
    """A byte-level tokenizer: every byte a token, no merges. With `adds_bos` it puts <s> first whenever asked for special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocabulary["<s>"])])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def make_model(directory: Path, tokenizer: Any, *, hidden: int = 16, layers: int = 1, dtype: Any = torch.float32) -> str:
    """Save a random Llama with `tokenizer` to `directory` and return its name."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def make_pair(number: int, chosen: str = "", rejected: str = "", system: str | None = None) -> PreferencePair:
    prompt = (Message(role="user", content=f"What is {number} plus {number}?"),)
    if system is not None:
        prompt = (Message(role="system", content=system), *prompt)
    return PreferencePair(
        prompt=prompt,
        chosen=(Message(role="assistant", content=chosen or f"It is {2 * number}."),),
        rejected=(Message(role="assistant", content=rejected or "No idea, ask another."),),
        chosen_score=2.0,
        rejected_score=0.5,
        reference_answer=str(2 * number),
        document_id=f"document-{number}",
        problem_id=f"problem-{number:04}",
        round=1,
    )


def make_pairs(count: int) -> list[PreferencePair]:
    return [make_pair(number) for number in range(count)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random model of 6 thousand parameters with a ChatML tokenizer."""
    return make_model(tmp_path_factory.mktemp("tiny") / "model", make_tokenizer())


@pytest.fixture
def weights() -> Callable[[Path], dict[str, Any]]:
    """Read the weights of a model directory by name."""
    from safetensors.torch import load_file

    return lambda directory: dict(load_file(directory / "model.safetensors"))
