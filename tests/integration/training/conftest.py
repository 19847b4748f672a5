"""Tiny random models with tokenizers, and pairs for them: makers as fixtures, and one model shared by the session."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import imports
from safetensors.torch import load_file
from tests.learning import shifted
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from pop_selfplay.records import Message, PreferencePair

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "<|im_start|>", "<|im_end|>"]


def _tokenizer(template: str = CHATML, adds_bos: bool = False) -> Any:
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


def _model(
    directory: Path, tokenizer: Any, dtype: Any = torch.float32, weight: float | None = None, spread: float = 0.02
) -> str:
    torch.manual_seed(shifted(0))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=spread,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config).to(dtype)
    if weight is not None:
        torch.nn.init.constant_(model.model.norm.weight, weight)
    transformers_logging.disable_progress_bar()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def _pair(number: int, chosen: str = "", rejected: str = "", system: str | None = None) -> PreferencePair:
    question = Message(role="user", content=f"What is {number} plus {number}?")
    prompt = (question,) if system is None else (Message(role="system", content=system), question)
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


@pytest.fixture(scope="session", autouse=True)
def packages_are_looked_for_once() -> Iterator[None]:
    """accelerate reads the metadata of peft at every save and every pass, which is a tenth of so small a training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imports, "_is_package_available", functools.cache(imports._is_package_available))
        yield


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Make a byte-level tokenizer (every byte a token, end token <|im_end|>) from `template`; `adds_bos` as Llama's does."""
    return _tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., str]:
    """Save a random Llama and its tokenizer to a directory; `weight` poisons it, `spread` is that of its weights."""
    return _model


@pytest.fixture
def make_pair() -> Callable[..., PreferencePair]:
    return _pair


@pytest.fixture
def make_pairs() -> Callable[[int], list[PreferencePair]]:
    return lambda count: [_pair(number) for number in range(count)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random model of 6 thousand parameters with a ChatML tokenizer."""
    return _model(tmp_path_factory.mktemp("tiny") / "model", _tokenizer())


@pytest.fixture(scope="session")
def weights() -> Callable[[Path], dict[str, Any]]:
    """Read the weights of a model directory by name."""
    return lambda directory: dict(load_file(directory / "model.safetensors"))


@pytest.fixture(scope="session")
def steerable_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of a random model whose embeddings are so long that its matrices alone can make a token likely."""
    return _model(tmp_path_factory.mktemp("steerable") / "model", _tokenizer(), spread=0.5)
