"""Completions in, typed values or a reason out. Strict: half an answer is a rejection, never a value.

No function here raises on any input text. Reasons are short stable words that are counted and shown to the user:

| reason | meaning |
| --- | --- |
| no_tag, unclosed_tag, repeated_tag, empty_tag | the tag asked for is missing, open, there twice, or holds nothing |
| placeholder | the tag holds only "..." |
| unclosed_reasoning | the completion never left its `<think>` part |
| only_reasoning | nothing follows the reasoning, as when a server's reasoning parser takes all for it |
| too_long | a JSON body beyond 64 kB |
| bad_json, wrong_shape | not JSON even after repair; JSON of another shape than asked for |
| missing_key, wrong_type | a criterion or rating lacks a key, or has a value of the wrong type |
| no_criteria, too_many_criteria, duplicate_name, bad_weight | the rubric breaks a rule of the method |
| missing_rating, unknown_criterion, duplicate_rating, bad_rating | the evaluation does not rate each criterion once, 0 to 2 |
| bad_verdict, bad_rating | a comparison names neither A nor B, or rates an answer with no number from 0 to 10 |

Difference from the paper: its reference code clips ratings into [0, 2], counts a left-out criterion as 0 and lets duplicate
names overwrite each other; here each of these rejects the completion, and the stage asks again.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar

import json_repair

from pop_selfplay.records import Criterion, Rating, Rubric

T = TypeVar("T")
Side = Literal["A", "B"]

MAX_CRITERIA: Final = 5
MAX_JSON_CHARACTERS: Final = 65_536
ONLY_REASONING: Final = (
    "all the text is reasoning and no answer follows: if the answer is in it, the server's reasoning parser does not fit the "
    "model (vLLM and SGLang: --reasoning-parser, llama.cpp: --reasoning-format); else raise max_tokens"
)
_PLACEHOLDERS: Final = frozenset({"...", "…"})
_MARK: Final = re.compile(r"[0-9]{1,2}(?:\.[0-9]{1,3})?")
_CODE_FENCE: Final = re.compile(r"\A\s*```[\w-]*[ \t]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)


class Rejection(NamedTuple):
    """Why a completion was refused: a stable word, and the detail for a reader."""

    reason: str
    detail: str = ""


class Parsed(NamedTuple, Generic[T]):
    """A value from a completion. `repaired` tells that its JSON was mended before it parsed."""

    value: T
    repaired: bool = False


class Proposal(NamedTuple):
    problem: str
    reference_answer: str


class Marks(NamedTuple):
    """How the two answers of a comparison were rated, each from 0 to 10."""

    a: float
    b: float


def valid_unicode(text: str) -> str:
    """Return `text` with lone surrogates, which no file or database can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def cut_reasoning(completion: str) -> str | Rejection:
    """Return what follows the last `</think>`; the whole text where there is none."""
    _, closed, tail = completion.rpartition("</think>")
    if not closed and completion.lstrip().startswith("<think>"):
        return Rejection("unclosed_reasoning", completion[:80])
    if closed and not tail.strip():
        return Rejection("only_reasoning", ONLY_REASONING)
    return tail if closed else completion


def extract_tag(text: str, tag: str) -> str | Rejection:
    """Return the stripped content of the one `<tag>…</tag>` in `text`."""
    opening, closing = f"<{tag}>", f"</{tag}>"
    opened, closed = text.count(opening), text.count(closing)
    if opened == 0:
        return Rejection("no_tag", f"no {opening}")
    if opened > 1 or closed > 1:
        return Rejection("repeated_tag", f"{opened} times {opening}, {closed} times {closing}")
    start, end = text.index(opening) + len(opening), text.find(closing)
    if end < start:
        return Rejection("unclosed_tag", f"{opening} is never closed")
    content = text[start:end].strip()
    if not content:
        return Rejection("empty_tag", f"{opening} holds nothing")
    if content in _PLACEHOLDERS:
        return Rejection("placeholder", f"{opening} holds only {content}")
    return content


def parse_proposal(completion: str) -> Parsed[Proposal] | Rejection:
    """Return the problem and reference answer of a proposer's completion."""
    text = cut_reasoning(completion)
    if isinstance(text, Rejection):
        return text
    problem = extract_tag(text, "problem")
    if isinstance(problem, Rejection):
        return problem
    answer = extract_tag(text, "answer")
    if isinstance(answer, Rejection):
        return answer
    return Parsed(Proposal(problem, answer))


def parse_answer(completion: str) -> Parsed[str] | Rejection:
    """Return the final answer of a solver's completion."""
    text = cut_reasoning(completion)
    answer = text if isinstance(text, Rejection) else extract_tag(text, "answer")
    return answer if isinstance(answer, Rejection) else Parsed(answer)


def parse_rubric(completion: str, *, bare: bool = False) -> Parsed[Rubric] | Rejection:
    """Return the rubric of a rubric writer's completion: 1 to 5 criteria, unique names, finite positive weights.

    `bare` completions were decoded by a schema: they are JSON without a tag.
    """
    items = _items(completion, None if bare else "rubric")
    if isinstance(items, Rejection):
        return items
    entries, repaired = items
    if not entries:
        return Rejection("no_criteria", "the rubric is empty")
    if len(entries) > MAX_CRITERIA:
        return Rejection("too_many_criteria", f"{len(entries)} criteria, at most {MAX_CRITERIA} are allowed")
    criteria = []
    for _, entry in entries:
        criterion = _criterion(entry)
        if isinstance(criterion, Rejection):
            return criterion
        criteria.append(criterion)
    names = [_key(criterion.name) for criterion in criteria]
    if len(set(names)) < len(names):
        return Rejection("duplicate_name", f"criterion names are not unique: {names}")
    return Parsed(Rubric(criteria=tuple(criteria)), repaired)


def parse_evaluation(
    completion: str, criteria: Sequence[Criterion], *, bare: bool = False
) -> Parsed[tuple[Rating, ...]] | Rejection:
    """Return one rating for each of `criteria`, in their order. `bare` completions are JSON without a tag."""
    items = _items(completion, None if bare else "evaluation")
    if isinstance(items, Rejection):
        return items
    entries, repaired = items
    known = {_key(criterion.name): criterion.name for criterion in criteria}
    by_position = {f"criterion_{number}": criterion.name for number, criterion in enumerate(criteria, 1)}
    ratings: dict[str, Rating] = {}
    for label, entry in entries:
        name = entry.get("name", by_position.get(label, label))
        if not isinstance(name, str) or _key(name) not in known:
            return Rejection("unknown_criterion", f"{name!r:.80} is not one of {sorted(known)!r:.400}")
        rating = _rating(known[_key(name)], entry)
        if isinstance(rating, Rejection):
            return rating
        if rating.criterion in ratings:
            return Rejection("duplicate_rating", f"{rating.criterion!r:.80} is rated twice")
        ratings[rating.criterion] = rating
    missing = [criterion.name for criterion in criteria if criterion.name not in ratings]
    if missing:
        return Rejection("missing_rating", f"no rating for {missing!r:.400}")
    return Parsed(tuple(ratings[criterion.name] for criterion in criteria), repaired)


def parse_better(completion: str) -> Parsed[Side] | Rejection:
    """Return which answer of a comparison the judge calls the better one."""
    text = cut_reasoning(completion)
    verdict = text if isinstance(text, Rejection) else extract_tag(text, "better_answer")
    if isinstance(verdict, Rejection):
        return verdict
    if verdict == "A":
        return Parsed("A")
    return Parsed("B") if verdict == "B" else Rejection("bad_verdict", f"{verdict!r:.80} is neither A nor B")


def parse_marks(completion: str) -> Parsed[Marks] | Rejection:
    """Return the ratings of both answers of a comparison, plain numbers from 0 to 10."""
    text = cut_reasoning(completion)
    if isinstance(text, Rejection):
        return text
    a, b = _mark(text, "rating_A"), _mark(text, "rating_B")
    if isinstance(a, Rejection):
        return a
    return b if isinstance(b, Rejection) else Parsed(Marks(a, b))


def _mark(text: str, tag: str) -> float | Rejection:
    written = extract_tag(text, tag)
    if isinstance(written, Rejection):
        return written
    if not _MARK.fullmatch(written) or float(written) > 10:
        return Rejection("bad_rating", f"{written!r:.80} in <{tag}> is no number from 0 to 10")
    return float(written)


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _criterion(entry: Mapping[str, Any]) -> Criterion | Rejection:
    for key in ("name", "description", "weight", "gold"):
        if key not in entry:
            return Rejection("missing_key", f"a criterion has no {key!r}: {dict(entry)!r:.200}")
    name, description, weight, gold = (entry[key] for key in ("name", "description", "weight", "gold"))
    if isinstance(gold, (int, float)) and not isinstance(gold, bool):
        gold = str(gold)  # a numeric fact loses nothing as text
    if not all(isinstance(text, str) for text in (name, description, gold)) or not name.strip():
        return Rejection("wrong_type", f"name, description and gold must be texts: {dict(entry)!r:.200}")
    number = _finite(weight)
    if number is None or number <= 0:
        return Rejection("bad_weight", f"weight {weight!r:.40} of {name!r:.80} must be a positive finite number")
    return Criterion(
        name=valid_unicode(name).strip(),
        description=valid_unicode(description).strip(),
        weight=number,
        gold=valid_unicode(gold).strip(),
    )


def _rating(name: str, entry: Mapping[str, Any]) -> Rating | Rejection:
    if "rating" not in entry:
        return Rejection("missing_key", f"no 'rating' for {name!r:.80}")
    rating = _finite(entry["rating"])
    if rating is None or rating not in (0, 1, 2):
        return Rejection("bad_rating", f"rating {entry['rating']!r:.40} of {name!r:.80} must be 0, 1 or 2")
    thoughts = entry.get("thoughts", "")
    return Rating(criterion=name, rating=rating, thoughts=valid_unicode(thoughts) if isinstance(thoughts, str) else "")


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _items(completion: str, tag: str | None) -> tuple[list[tuple[str, Mapping[str, Any]]], bool] | Rejection:
    """Return the labelled objects of the JSON inside `<tag>`, or of the whole text, and whether it had to be repaired.

    Accepted shapes: {"criterion_1": {…}, …}, [{…}, …], {"criteria": [{…}, …]} and one bare {…} with a "name".
    """
    text = cut_reasoning(completion)
    body = text if isinstance(text, Rejection) or tag is None else extract_tag(text, tag)
    if isinstance(body, Rejection):
        return body
    if len(body) > MAX_JSON_CHARACTERS:
        return Rejection("too_long", f"{len(body)} characters of JSON, at most {MAX_JSON_CHARACTERS} are read")
    loaded = _load_json(body)
    if isinstance(loaded, Rejection):
        return loaded
    data, repaired = loaded
    if isinstance(data, dict) and isinstance(data.get("criteria"), list):
        data = data["criteria"]
    elif isinstance(data, dict) and isinstance(data.get("name"), str):
        data = [data]
    if isinstance(data, dict):
        items = list(data.items())
    elif isinstance(data, list):
        items = [(f"criterion_{number}", entry) for number, entry in enumerate(data, 1)]
    else:
        return Rejection("wrong_shape", f"expected an object or a list, got {type(data).__name__}")
    if not all(isinstance(entry, dict) for _, entry in items):
        return Rejection("wrong_shape", "expected one object per criterion")
    return items, repaired


def _load_json(body: str) -> tuple[Any, bool] | Rejection:
    fenced = _CODE_FENCE.match(body)
    if fenced:
        body = fenced[1]
    try:
        return json.loads(body, object_pairs_hook=_unique_keys), False
    except _DuplicateKey as error:
        return Rejection("duplicate_name", str(error))
    except (ValueError, RecursionError):
        pass  # the second try is repair; what it cannot mend is rejected below
    try:
        data = json_repair.loads(body, skip_json_loads=True)
    except (ValueError, RecursionError, IndexError, TypeError) as error:
        return Rejection("bad_json", f"{type(error).__name__}: {error!s:.200}")
    if not isinstance(data, (dict, list)) or not data:
        return Rejection("bad_json", body[:200])
    return data, True


class _DuplicateKey(Exception):
    pass


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise _DuplicateKey(f"a key appears twice among {[key for key, _ in pairs]!r:.200}")
    return result
