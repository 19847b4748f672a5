"""The simulated judge that is asked for probabilities: ratings alone, on one line, each token with its alternatives.

How it is torn between 0, 1 and 2 follows from the answer's hidden quality, so that its most probable rating is the one it gives
in every other mode, and the expected one is finer. Tokens are cut as common tokenizers do, and counted as they are cut.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from typing import Final

from pop_selfplay.models.base import ChatRequest, Token
from pop_selfplay.models.simulated.drafts import criterion_names, judged_answer
from pop_selfplay.models.simulated.quality import merit

_TORN: Final = 0.4
"""Standard deviation, in ratings, of what the judge would give; at the border of two it gives either half the time."""
_TOKENS: Final = re.compile(r'\{"|":|,| "|\d|\w+|.', re.DOTALL)
_VALUE: Final = re.compile(r"(?<=: )\d|\A\d")


def probable_ratings(request: ChatRequest, rng: random.Random, *, malformed: bool) -> tuple[str, tuple[Token, ...]]:
    """Return the judge's text and its tokens with `request.top_logprobs` alternatives at most."""
    prompt = request.messages[-1].content
    answer = judged_answer(prompt)
    qualities = [merit(answer, name) for name in criterion_names(prompt)]
    ratings = [min(2, int(3 * quality)) for quality in qualities]
    text = ", ".join(f'"{number}": {rating}' for number, rating in enumerate(ratings, 1))
    text = f"{{{text}}}" if request.stop in ("", "}") else f"{ratings[0]}{request.stop}"
    if malformed:
        return _without_probabilities(rng.choice(_MISTAKES)(text, request.stop))
    values = {match.start(): quality for match, quality in zip(_VALUE.finditer(text), qualities, strict=False)}
    return text, tuple(
        Token(
            piece[0], _torn(values[piece.start()], request.top_logprobs) if piece.start() in values else ((piece[0], -0.001),)
        )
        for piece in _TOKENS.finditer(text)
    )


def _torn(quality: float, most: int) -> tuple[tuple[str, float], ...]:
    """The alternatives of a rating for a `quality` in [0, 1), with a trace of something else, most probable first."""
    middle = 3 * quality - 0.5
    likely = {str(rating): math.exp(-((rating - middle) ** 2) / (2 * _TORN**2)) for rating in range(3)}
    total = sum(likely.values()) * 1.01
    found = [(text, math.log(p / total)) for text, p in likely.items()] + [(" ", math.log(0.01 / 1.01))]
    return tuple(sorted(found, key=lambda pair: -pair[1])[:most])


def _without_probabilities(text: str) -> tuple[str, tuple[Token, ...]]:
    return text, tuple(Token(piece[0], ((piece[0], -0.001),)) for piece in _TOKENS.finditer(text))


def _thinks_aloud(text: str, stop: str) -> str:
    return f"The answer says a good deal of what is asked for.{stop if stop != '}' else ''}"


def _left_out(text: str, stop: str) -> str:
    return f"{{}}{stop if stop != '}' else ''}"


def _in_words(text: str, stop: str) -> str:
    return _VALUE.sub("good", text)


_MISTAKES: Final[Sequence[Callable[[str, str], str]]] = (_thinks_aloud, _left_out, _in_words)
