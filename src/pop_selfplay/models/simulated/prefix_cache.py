"""What a server remembers of the prompts it has read: blocks of tokens, each known together with all that comes before it."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

BLOCK_TOKENS: Final = 16
CHARACTERS_PER_TOKEN: Final = 4
_BLOCK_CHARACTERS: Final = BLOCK_TOKENS * CHARACTERS_PER_TOKEN


def blocks_of(text: str) -> tuple[int, ...]:
    """Return one number for each full block of `text`: equal for two texts just as far as they begin alike."""
    blocks, before = [], 0
    for start in range(0, len(text) - _BLOCK_CHARACTERS + 1, _BLOCK_CHARACTERS):
        before = hash((before, text[start : start + _BLOCK_CHARACTERS]))
        blocks.append(before)
    return tuple(blocks)


class PrefixCache:
    """The blocks used last, at most `capacity` of them."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def reuse(self, blocks: Sequence[int]) -> int:
        """Return how many of the first `blocks` were held, up to the first that was not. From now on all of them are."""
        held, unbroken = 0, True
        for block in blocks:
            unbroken = unbroken and block in self._blocks
            held += unbroken
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._capacity:
            self._blocks.popitem(last=False)
        return held

    def clear(self) -> None:
        self._blocks.clear()
