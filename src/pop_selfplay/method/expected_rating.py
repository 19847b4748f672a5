"""Ratings as expected values: what a judge would give on average, read off the probabilities of its rating tokens.

A judge that writes "1" may have been torn between 1 and 2, or sure. The token at the place of a rating comes with its most
probable alternatives; those that are 0, 1 or 2 are taken as the judge's distribution, scaled to sum to 1, and its mean is the
rating. So one call of a few tokens tells answers apart that a whole number cannot.

Two forms of completion can be read: one JSON object with a rating for each criterion's number, `{"1": 2, "2": 0}`
(`parse_ratings`), and anything that ends in the one rating asked for (`parse_last_rating`). All else is rejected:

| reason | meaning |
| --- | --- |
| no_probabilities | the completion came without tokens |
| no_rating_token | no token holds the rating alone: there is no distribution to read |
| low_mass | 0, 1 and 2 together have less than the probability asked for: the judge was about to write something else |

and for faults of the JSON the same reasons as in `parsing.py`.
"""

import bisect
import itertools
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

from pop_selfplay.method.parsing import Parsed, Rejection
from pop_selfplay.records import Completion, Criterion, Rating, Token
from pop_selfplay.text.fencing import valid_unicode

MAX_CHARACTERS: Final = 4096
_DIGITS: Final = 4  # of a stored log-probability: far finer than a rating, and short in the journal
_AROUND: Final = " \t\r\n:,\"'[]{}"
"""What a tokenizer may glue to a rating without changing it."""
_ENTRY: Final = re.compile(r'"(?:criterion_)?(\d{1,2})"\s*:\s*([0-2])(?=\s*(?:,|\Z))')
_LAST: Final = re.compile(r"(?<![0-9.\-])([0-9])[^0-9]*\Z")


def rating_in(text: str) -> int | None:
    """Return 0, 1 or 2 where the token `text` says just that, else None."""
    bare = text.strip(_AROUND)
    return int(bare) if bare in ("0", "1", "2") else None


def compact(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """Return `tokens` with only those alternatives that are ratings, log-probabilities cut to 4 decimals: what is stored.

    Ratings are read from compact tokens only, so that a replay reads the very same ones.
    """
    return tuple(
        Token(
            valid_unicode(token.text),
            tuple((valid_unicode(text), round(p, _DIGITS)) for text, p in token.alternatives if rating_in(text) is not None),
        )
        for token in tokens
    )


def expected_rating(alternatives: Sequence[tuple[str, float]], min_mass: float) -> float | Rejection:
    """Return Σ p·r over the alternatives that are ratings r, p scaled to sum to 1: a value in [0, 2].

    Rejected where these have less than `min_mass` (0 to 1) of the probability together.
    """
    mass = [0.0, 0.0, 0.0]
    for text, logprob in alternatives:
        rating = rating_in(text)
        if rating is not None:
            mass[rating] += math.exp(min(0.0, logprob))  # a server's rounding may say a hair more than 0
    total = sum(mass)
    if total <= 0 or total < min_mass:
        return Rejection("low_mass", f"0, 1 and 2 have {total:.3f} of the probability together, {min_mass:g} are asked for")
    return min(2.0, (mass[1] + 2 * mass[2]) / total)


def parse_ratings(
    completion: Completion, criteria: Sequence[Criterion], min_mass: float
) -> Parsed[tuple[Rating, ...]] | Rejection:
    """Return an expected rating for each of `criteria`, in their order, from a JSON object of number → rating.

    The completion may end right before its closing brace, where generation was stopped by it.
    """
    start = _start(completion)
    if isinstance(start, Rejection):
        return start
    text = "".join(token.text for token in completion.tokens)
    opened = text.find("{", start)
    if opened < 0:
        return Rejection("bad_json", f"no {{ in {text[start : start + 200]!r}")
    closed = text.find("}", opened)
    body = text[opened + 1 : closed if closed >= 0 else len(text)]
    checked = _checked(body, len(criteria))
    if isinstance(checked, Rejection):
        return checked
    places = {int(match[1]): opened + 1 + match.start(2) for match in _ENTRY.finditer(body)}
    ratings = []
    for number, criterion in enumerate(criteria, 1):
        if number not in places:
            return Rejection("bad_json", f"an odd spelling of {number} or its rating: {body[:200]!r}")
        rating = _rating_at(completion.tokens, places[number], criterion, min_mass)
        if isinstance(rating, Rejection):
            return rating
        ratings.append(rating)
    return Parsed(tuple(ratings))


def parse_last_rating(
    completion: Completion, criterion: Criterion, stop: str, min_mass: float
) -> Parsed[tuple[Rating, ...]] | Rejection:
    """Return the expected rating of the one criterion asked about: the last number of the completion, before `stop`."""
    start = _start(completion)
    if isinstance(start, Rejection):
        return start
    text = "".join(token.text for token in completion.tokens)
    head = text[: text.find(stop, start)] if stop and stop in text[start:] else text
    last = _LAST.search(head, start)
    if last is None:
        return Rejection("missing_rating", f"no single digit ends {head[start : start + 200]!r}")
    if last[1] not in "012":
        return Rejection("bad_rating", f"rating {last[1]} of {criterion.name!r:.80} must be 0, 1 or 2")
    rating = _rating_at(completion.tokens, last.start(1), criterion, min_mass)
    return rating if isinstance(rating, Rejection) else Parsed((rating,))


def _start(completion: Completion) -> int | Rejection:
    """Return where the tokens' text begins after any reasoning, or why it cannot be read at all."""
    if not completion.tokens:
        return Rejection("no_probabilities", "the completion came without the probabilities of its tokens")
    text = "".join(token.text for token in completion.tokens)
    if len(text) > MAX_CHARACTERS:
        return Rejection("too_long", f"{len(text)} characters, at most {MAX_CHARACTERS} are read")
    closing = text.rfind("</think>")
    if closing < 0 and text.lstrip().startswith("<think>"):
        return Rejection("unclosed_reasoning", text[:80])
    return closing + len("</think>") if closing >= 0 else 0


def _checked(body: str, count: int) -> Rejection | None:
    """Return why `body`, the inside of a JSON object, does not rate each criterion 1 to `count` once; None where it does."""
    try:
        pairs: list[tuple[str, Any]] = json.loads("{" + body + "}", object_pairs_hook=list)
    except (ValueError, RecursionError):
        return Rejection("bad_json", body[:200])
    seen = []
    for key, value in pairs:
        number = key.removeprefix("criterion_")
        if number not in [str(n) for n in range(1, count + 1)]:
            return Rejection("unknown_criterion", f"{key!r:.80} is not a number from 1 to {count}")
        if isinstance(value, bool) or value not in (0, 1, 2) or not isinstance(value, int):
            return Rejection("bad_rating", f"rating {value!r:.40} of {number} must be 0, 1 or 2")
        seen.append(number)
    if len(set(seen)) < len(seen):
        return Rejection("duplicate_rating", f"a criterion is rated twice among {seen}")
    missing = [n for n in range(1, count + 1) if str(n) not in seen]
    return Rejection("missing_rating", f"no rating for criterion {missing}") if missing else None


def _rating_at(tokens: Sequence[Token], offset: int, criterion: Criterion, min_mass: float) -> Rating | Rejection:
    ends = list(itertools.accumulate(len(token.text) for token in tokens))
    token = tokens[bisect.bisect_right(ends, offset)]
    if rating_in(token.text) is None:
        return Rejection("no_rating_token", f"the rating of {criterion.name!r:.80} stands inside the token {token.text!r:.40}")
    rating = expected_rating(token.alternatives, min_mass)
    return rating if isinstance(rating, Rejection) else Rating(criterion=criterion.name, rating=rating)
