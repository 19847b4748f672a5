"""What the values of a config may be: names, places and seeds, and how much there may be of all.

A new kind of text gets a type here. Every number gets its bounds where its setting is: only there they mean something.
"""

from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Annotated, Final

from pydantic import AfterValidator, Field

LONGEST_S: Final = 30 * 24 * 3600
"""Seconds of the longest wait: 30 days. Timers of the event loop fail far above."""
_DEEPEST: Final = 50
_MOST_NODES: Final = 100_000
_LONGEST_PATH: Final = 4095
"""Bytes that Linux takes for a path. A part of it, between two slashes, may have `_LONGEST_PART`."""
_LONGEST_PART: Final = 255


def _place(text: str) -> str:
    size, longest = len(text.encode()), max(len(part.encode()) for part in text.split("/"))
    if size > _LONGEST_PATH:
        raise ValueError(f"is {size} bytes long, but a path has at most {_LONGEST_PATH}")
    if longest > _LONGEST_PART and "://" not in text:
        raise ValueError(f"has a name of {longest} bytes, but a file name has at most {_LONGEST_PART}")
    return text


Name = Annotated[str, Field(min_length=1)]
Place = Annotated[str, Field(min_length=1), AfterValidator(_place)]
"""The name of a file, a folder or something on a hub, or a URL."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""As large as every library takes."""


def refuse_bottomless(data: object) -> None:
    """Raise ValueError for data that is nested too deeply, or too large, or holds itself: no config is so."""
    nodes, level, depth = 0, [data], 0
    while level:
        nodes, depth = nodes + len(level), depth + 1
        if depth > _DEEPEST:
            raise ValueError(f"is nested more than {_DEEPEST} deep")
        if nodes > _MOST_NODES:
            raise ValueError(f"has more than {_MOST_NODES:,} values")
        level = list(islice(chain.from_iterable(map(_inside, level)), _MOST_NODES + 1))


def _inside(node: object) -> Iterable[object]:
    if isinstance(node, Mapping):
        return node.values()
    return node if isinstance(node, (list, tuple)) else ()
