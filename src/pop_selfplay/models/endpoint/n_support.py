"""Whether a server answers several requests that differ only by their seed in one call: the parameter `n`.

Some servers refuse `n`, some ignore it, some cap it, and some give n times the same text. So a probe asks for two short texts
before the first real use, and only two that differ count. What is learned holds for the lifetime of the client.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

from pop_selfplay.models.base import ChatRequest, Notice
from pop_selfplay.models.endpoint.refusals import Refused
from pop_selfplay.models.endpoint.reply import Reply
from pop_selfplay.records import Message, Role

_ABOUT_N: Final = re.compile(r"\bn\b|best_of|choices|sequences|candidate", re.I)
_STRIKES: Final = 3
"""One bad reply does not end it: a proxy may have another server behind it for a moment."""
PROBE: Final = ChatRequest(
    role=Role.SOLVER,
    messages=(Message(role="user", content="Write one line of random words."),),
    temperature=1.0,
    top_p=1.0,
    max_tokens=16,
    seed=1,
)


class NSupport:
    """What is known of the server's `n`."""

    def __init__(self, setting: Literal["auto", "never"], notice: Notice) -> None:
        self._notice = notice
        self._honoured: bool | None = None if setting == "auto" else False
        self._strikes = 0
        self._probing = asyncio.Lock()

    async def honoured(self, ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
        """Tell whether `n` can be used; the first caller asks the server by `ask`. Raises what `ask` raises, but Refused."""
        if self._honoured is None:
            async with self._probing:
                if self._honoured is None:
                    self._honoured = await _probe(ask)
        return self._honoured

    def answered(self) -> None:
        """A call for several answers got them all."""
        self._strikes = 0

    def refused(self, n: int, words: str) -> None:
        """A call for `n` answers was refused. If the server's words are about the number, it was the last."""
        if _ABOUT_N.search(words):
            self._end(n, words)

    def failed(self, n: int, words: str) -> None:
        """A call for `n` answers got another number: so many in a row, and every answer is asked for by itself."""
        self._strikes += 1
        if self._strikes >= _STRIKES:
            self._end(n, words)

    def _end(self, n: int, words: str) -> None:
        if self._honoured:
            self._honoured = False
            self._notice(f"the server does not answer n = {n} ({words[:200]}): from now on each candidate gets its own call")


async def _probe(ask: Callable[[Sequence[ChatRequest]], Awaitable[Reply]]) -> bool:
    try:
        reply = await ask([PROBE, PROBE])
    except Refused:
        return False
    return len(reply.choices) == 2 and reply.choices[0].text != reply.choices[1].text
