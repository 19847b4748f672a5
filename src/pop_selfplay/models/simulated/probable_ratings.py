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
from pop_selfplay.models.simulated.quality import rating, rating_odds

_ELSE: Final = 0.01
"""How likely the judge finds it to write something else than a rating."""
_TOKENS: Final = re.compile(r'\{"|":|,| "|\d|\w+|.', re.DOTALL)
_Alternatives = tuple[tuple[str, float], ...]
_VALUE: Final = re.compile(r"(?<=: )\d|\A\d")


def probable_ratings(request: ChatRequest, rng: random.Random, *, malformed: bool) -> tuple[str, tuple[Token, ...]]:
    """Return the judge's text and its tokens with `request.top_logprobs` alternatives at most."""
    prompt = request.messages[-1].content
    answer = judged_answer(prompt)
    names = criterion_names(prompt)
    ratings = [rating(answer, name) for name in names]
    text = ", ".join(f'"{number}": {given}' for number, given in enumerate(ratings, 1))
    text = f"{{{text}}}" if request.stop in ("", "}") else f"{ratings[0]}{request.stop}"
    if malformed:
        spoiled = rng.choice(_MISTAKES)(text, request.stop)
        return spoiled, _tokens(spoiled, lambda _, piece: _sure(piece))
    odds = {match.start(): rating_odds(answer, name) for match, name in zip(_VALUE.finditer(text), names, strict=False)}
    return text, _tokens(text, lambda place, piece: _torn(odds[place], request.top_logprobs) if place in odds else _sure(piece))


def _tokens(text: str, alternatives: Callable[[int, str], _Alternatives]) -> tuple[Token, ...]:
    return tuple(Token(piece[0], alternatives(piece.start(), piece[0])) for piece in _TOKENS.finditer(text))


def _sure(piece: str) -> _Alternatives:
    return ((piece, -0.001),)


def _torn(odds: Sequence[float], most: int) -> _Alternatives:
    """The alternatives of a rating, with a trace of something else, most probable first."""
    found = [(str(value), math.log(max(p, 1e-30) * (1 - _ELSE))) for value, p in enumerate(odds)] + [(" ", math.log(_ELSE))]
    return tuple(sorted(found, key=lambda pair: -pair[1])[:most])


def _thinks_aloud(text: str, stop: str) -> str:
    return f"The answer says a good deal of what is asked for.{stop if stop != '}' else ''}"


def _left_out(text: str, stop: str) -> str:
    return f"{{}}{stop if stop != '}' else ''}"


def _in_words(text: str, stop: str) -> str:
    return _VALUE.sub("good", text)


_MISTAKES: Final[Sequence[Callable[[str, str], str]]] = (_thinks_aloud, _left_out, _in_words)
