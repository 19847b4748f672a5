"""What the tests of these scripts share: the tokenizer, which takes seconds to make, and one thread for the tiny models."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tools.pocket.tokenizer import build_tokenizer

from pop_selfplay.pocket.world import World


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """The tokenizer of the pocket world; whoever changes it makes one of their own."""
    return build_tokenizer(World())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small gain little from a second thread, and threads that wait for each other keep busy cores busier."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
