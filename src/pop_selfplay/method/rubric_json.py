"""A rubric and an evaluation of it, out of the JSON in a completion; and the JSON schemas of both.

The JSON itself is read by `json_output.py`; here its shapes, the names in it and its numbers. Reasons are those of
`parsing.py`. What leaves no doubt is accepted and told as repaired: a wrapper around the criteria, remarks beside them, names
that differ in their spelling alone, numbers written as text. A wrapper more goes into `_WRAPPERS`, a word for a remark into
`_REMARKS`, another spelling of a name into `_key` or `_loose_key`.

The schemas are for servers that decode by one. Thoughts come first: a schema leaves no room to think before the JSON.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pop_selfplay.method.json_output import UnreadableJSON, folded, read_json
from pop_selfplay.method.tags import Parsed, Rejection, cut_reasoning, find_tag, is_placeholder
from pop_selfplay.records import Criterion, Rating, Rubric
from pop_selfplay.text.fencing import valid_unicode, visible

JsonSchema: TypeAlias = dict[str, Any]  # as the standard has it: any JSON
MAX_CRITERIA: Final = 5
MAX_JSON_CHARACTERS: Final = 65_536
_PLAIN_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
_FENCED: Final = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_WHOLE_JSON: Final = re.compile(r"\s*(?:\[.*\]|\{.*\})\s*", re.DOTALL)
_POSITION: Final = re.compile(r"(?:criterion|criteria)?[\s_#-]*(\d{1,2})")
_NUMBERING: Final = re.compile(r"(?:(?:criterion|criteria)[\s_#-]*\d{1,2}\s*[.):–-]|\(?\d{1,2}[.):]|#\d{1,2}[.):]?)\s*(?=\S)")
_SPELLINGS: Final = str.maketrans("“”„‟«»‘’‚‛`´‐‑‒–—―−", "\"\"\"\"\"\"''''''-------")
_NAME_KEYS: Final = ("name", "criterion", "criterion_name", "criterion name", "title")
_NO_GOLD: Final = frozenset({"nan", "null", "undefined"})
_WRAPPERS: Final = frozenset(
    "criteria data evaluation evaluations output ratings response result results rubric scores".split()
)
_REMARKS: Final = frozenset(
    """
    average comment comments conclusion explanation feedback mean notes overall reasoning remark remarks score sum summary
    thoughts total
    """.split()
)


class _Entries(NamedTuple):
    """What stands in the JSON for each criterion, by its label; whether it had to be mended, and whether it may go on."""

    items: list[tuple[str, Any]]
    repaired: bool
    open_ended: bool


def parse_rubric(completion: str, *, bare: bool = False) -> Parsed[Rubric] | Rejection:
    """Return the rubric of a rubric writer's completion: 1 to 5 criteria, unique names, finite positive weights.

    `bare` completions were decoded by a schema: they are JSON without a tag.
    """
    entries = _entries(completion, "rubric", bare)
    if isinstance(entries, Rejection):
        return entries
    items = [entry for label, entry in entries.items if isinstance(entry, dict) or not _is_remark(label)]
    if not items:
        return Rejection("no_criteria", "the rubric is empty")
    if len(items) > MAX_CRITERIA:
        return Rejection("too_many_criteria", f"{len(items)} criteria, at most {MAX_CRITERIA} are allowed")
    criteria, repaired = [], entries.repaired or len(items) < len(entries.items)
    for entry in items:
        criterion = _criterion(entry)
        if isinstance(criterion, Rejection):
            return criterion
        criteria.append(criterion)
        repaired = repaired or isinstance(_field(entry, "weight"), str) or not isinstance(_field(entry, "description"), str)
    names = [_key(criterion.name) for criterion in criteria]
    if len(set(names)) < len(names):
        return Rejection("duplicate_name", f"criterion names are not unique: {names}")
    return Parsed(Rubric(criteria=tuple(criteria)), repaired, entries.open_ended)


def parse_evaluation(
    completion: str, criteria: Sequence[Criterion], *, bare: bool = False
) -> Parsed[tuple[Rating, ...]] | Rejection:
    """Return one rating for each of `criteria`, in their order. `bare` completions are JSON without a tag."""
    entries = _entries(completion, "evaluation", bare)
    if isinstance(entries, Rejection):
        return entries
    names, repaired = _Names(criteria), entries.repaired
    ratings: dict[str, Rating] = {}
    for label, entry in entries.items:
        found = _rated(label, entry, names)
        if isinstance(found, Rejection):
            return found
        repaired = repaired or found.repaired
        if found.value is None:
            continue
        if found.value.criterion in ratings:
            return Rejection("duplicate_rating", f"{found.value.criterion!r:.80} is rated twice")
        ratings[found.value.criterion] = found.value
    missing = [criterion.name for criterion in criteria if criterion.name not in ratings]
    if missing:
        return Rejection("missing_rating", f"no rating for {missing!r:.400}")
    return Parsed(tuple(ratings[criterion.name] for criterion in criteria), repaired, entries.open_ended)


def _entries(completion: str, tag: str, bare: bool) -> _Entries | Rejection:
    """Return what stands for each criterion in the JSON inside `<tag>`, or in the whole text of a `bare` completion.

    Accepted shapes: {"criterion_1": {…}, …}, [{…}, …], one bare {…} with a "name", and any of these within {"criteria": …} or
    another of `_WRAPPERS`.
    """
    text = cut_reasoning(completion, None if bare else tag, json=True)
    body = text if isinstance(text, Rejection) else Parsed(text) if bare else _tagged(text, tag)
    if isinstance(body, Rejection):
        return body
    if len(body.value) > MAX_JSON_CHARACTERS:
        return Rejection("too_long", f"{len(body.value)} characters of JSON, at most {MAX_JSON_CHARACTERS} are read")
    try:
        data, mended = read_json(body.value, closed=not bare)
    except UnreadableJSON as error:
        return Rejection(error.reason, str(error))
    inner = _unwrapped(data)
    repaired = body.repaired or mended or not (inner is data or (isinstance(data, dict) and "criteria" in data))
    if isinstance(inner, dict):
        named = isinstance(_field(inner, "name"), str)
        return _Entries([("criterion_1", inner)] if named else list(inner.items()), repaired, body.open_ended)
    if not isinstance(inner, list):
        return Rejection("wrong_shape", f"expected an object or a list, got {type(inner).__name__}")
    if not all(isinstance(entry, dict) for entry in inner):
        return Rejection("wrong_shape", "expected one object per criterion")
    return _Entries([(f"criterion_{number}", entry) for number, entry in enumerate(inner, 1)], repaired, body.open_ended)


def _tagged(text: str, tag: str) -> Parsed[str] | Rejection:
    """Return what stands in `tag`, or the one code block, or the whole text, where that is JSON and no tag was written."""
    found = find_tag(text, tag)
    if not isinstance(found, Rejection) or found.reason != "no_tag":
        return found
    fenced = _FENCED.findall(text)
    body = fenced[0] if len(fenced) == 1 else text if not fenced else ""
    return Parsed(body.strip(), repaired=True, open_ended=not fenced) if _WHOLE_JSON.fullmatch(body) else found


def _unwrapped(data: Any) -> Any:
    """Return what stands within {"criteria": …} or the like, where nothing but remarks stands beside it."""
    for _ in range(3):
        inside = [key for key, value in data.items() if _wraps(key, value)] if isinstance(data, dict) else []
        if len(inside) != 1 or any(isinstance(value, dict) for key, value in data.items() if key != inside[0]):
            break
        data = data[inside[0]]
    return data


def _wraps(key: str, value: Any) -> bool:
    """Whether a member holds the criteria, and is none itself."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    is_entry = isinstance(value, dict) and any(_field(value, one) is not None for one in ("rating", "name", "weight"))
    return folded(key) in _WRAPPERS and not is_entry and (isinstance(value, list) or len(inside) > 0)


def _rated(label: str, entry: Any, names: "_Names") -> Parsed[Rating | None] | Rejection:
    """Return the rating that a labelled entry gives, None for a remark on the whole."""
    fields = entry if isinstance(entry, dict) else {}
    given = _given_name(fields)
    found = names.find(label, given)
    if found is None:
        if _is_remark(label if given is None else given):
            return Parsed(None, repaired=True)
        if not fields:
            return Rejection("wrong_shape", f"expected one object per criterion, got {entry!r:.80} for {label!r:.80}")
        return Rejection("unknown_criterion", f"{label if given is None else given!r:.80} is not one of {names.known!r:.400}")
    if isinstance(entry, (dict, list)) or entry is None:
        rating = _rating(found.value, fields) if isinstance(entry, dict) else Rejection("wrong_shape", f"{entry!r:.80}")
    else:
        rating = _rating(found.value, {"rating": entry})
    if isinstance(rating, Rejection):
        return rating
    plain = isinstance(entry, dict) and not isinstance(_field(entry, "rating"), str)
    return Parsed(rating, found.repaired or not plain)


class _Names:
    """The names of the criteria, found again in other spellings.

    One and the same: composed and decomposed letters, hidden characters, straight and curly quotes, kinds of dashes, case and
    white space; where no two criteria become alike by it, also compatibility forms, a numbering before, a colon behind, and
    Markdown around the name.
    """

    def __init__(self, criteria: Sequence[Criterion]) -> None:
        self.known = [criterion.name for criterion in criteria]
        self._exact = {_key(name): name for name in self.known}
        loose = [_loose_key(name) for name in self.known]
        self._loose = {key: name for key, name in zip(loose, self.known, strict=True) if key and loose.count(key) == 1}

    def find(self, label: str, given: str | None) -> Parsed[str] | None:
        """Return the criterion an entry rates: by the name in it, by its label only where it has none; None if unknown."""
        if given is None:
            exact = self._at(label) if label.startswith("criterion_") else None
            return Parsed(exact) if exact is not None else self._named(label)
        return self._named(given)

    def _named(self, said: str) -> Parsed[str] | None:
        name = self._exact.get(_key(said)) or self._loose.get(_loose_key(said)) or self._at(said)
        return None if name is None else Parsed(name, " ".join(said.split()).casefold() != " ".join(name.split()).casefold())

    def _at(self, said: str) -> str | None:
        place = _POSITION.fullmatch(folded(said))
        return self.known[int(place[1]) - 1] if place and 1 <= int(place[1]) <= len(self.known) else None


def _key(name: str) -> str:
    """Return what names have in common that differ in nothing a reader would call a difference."""
    return folded(unicodedata.normalize("NFC", visible(name)).translate(_SPELLINGS))


def _loose_key(name: str) -> str:
    plain = _key(unicodedata.normalize("NFKC", name)).strip(" *_'\"")
    return _NUMBERING.sub("", plain, count=1).strip(" *_'\":.")


def _is_remark(label: str | None) -> bool:
    """Whether a label names a remark on the whole, such as "overall", and no criterion."""
    return label is not None and folded(label).replace("_", " ").split(" ")[0] in _REMARKS


def _field(entry: Mapping[str, Any], key: str) -> Any:
    """Return the value of `key`, in whatever case it is written; None where it is missing."""
    return entry[key] if key in entry else next((value for name, value in entry.items() if folded(name) == key), None)


def _given_name(entry: Mapping[str, Any]) -> str | None:
    """Return the name that an entry says it is about, None where it has no key for one."""
    names = (value for key in _NAME_KEYS if (value := _field(entry, key)) is not None)
    return next((name if isinstance(name, str) else repr(name) for name in names), None)


def _criterion(entry: Any) -> Criterion | Rejection:
    keys = ("name", "description", "weight", "gold")
    if not isinstance(entry, dict):
        return Rejection("wrong_shape", f"expected one object per criterion, got {entry!r:.80}")
    name, description, weight, gold = values = [_field(entry, key) for key in keys]
    for key, value in zip(keys, values, strict=True):
        if value is None and key not in map(folded, entry):
            return Rejection("missing_key", f"a criterion has no {key!r}: {dict(entry)!r:.200}")
    if _finite(gold) is not None and not isinstance(gold, str):
        gold = str(gold)  # a numeric fact loses nothing as text
    description = _in_levels(description)
    if not all(isinstance(text, str) for text in (name, description, gold)) or not visible(name).strip():
        return Rejection("wrong_type", f"name, description and gold must be texts: {dict(entry)!r:.200}")
    if is_placeholder(name):
        return Rejection("wrong_type", f"{name!r:.40} names no criterion")
    if folded(gold) in _NO_GOLD or is_placeholder(gold):
        return Rejection("wrong_type", f"gold {gold!r:.40} of {name!r:.80} is no text")
    number = _finite(weight)
    if number is None or number <= 0:
        return Rejection("bad_weight", f"weight {weight!r:.40} of {name!r:.80} must be a positive finite number")
    return Criterion(
        name=valid_unicode(name).strip(),
        description=valid_unicode(description).strip(),
        weight=number,
        gold=valid_unicode(gold).strip() if visible(gold).strip() else "",
    )


def _in_levels(description: Any) -> Any:
    """Return one text where the levels of a criterion are an object of texts: {"full": …, "partial": …, "zero": …}."""
    levels = description if isinstance(description, dict) else {}
    if not levels or not all(isinstance(text, str) for text in levels.values()):
        return description
    return "\n".join(f"{level}: {text.strip()}" for level, text in levels.items())


def _rating(name: str, entry: Mapping[str, Any]) -> Rating | Rejection:
    said = _field(entry, "rating")
    if said is None and "rating" not in map(folded, entry):
        return Rejection("missing_key", f"no 'rating' for {name!r:.80}")
    rating = _finite(said)
    if rating is None or rating not in (0, 1, 2):
        return Rejection("bad_rating", f"rating {said!r:.40} of {name!r:.80} must be 0, 1 or 2")
    thoughts = _field(entry, "thoughts")
    return Rating(criterion=name, rating=rating, thoughts=valid_unicode(thoughts) if isinstance(thoughts, str) else "")


def _finite(value: Any) -> float | None:
    """Return a number, or a plain decimal number written as text; None for anything else, and for infinity."""
    if isinstance(value, str):
        value = float(value.strip()) if _PLAIN_NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


_TEXT: Final[JsonSchema] = {"type": "string"}


def _object(properties: Mapping[str, Any]) -> JsonSchema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def rubric_schema() -> JsonSchema:
    """Return the schema of a rubric: thoughts, then 1 to 5 criteria with whole weights from 1 to 5."""
    weight = {"type": "integer", "minimum": 1, "maximum": 5}
    criterion = _object({"name": _TEXT, "gold": _TEXT, "description": _TEXT, "weight": weight})
    criteria = {"type": "array", "items": criterion, "minItems": 1, "maxItems": MAX_CRITERIA}
    return _object({"thoughts": _TEXT, "criteria": criteria})


def tagged_rubric_schema() -> JsonSchema:
    """Return the schema of a rubric between its tags, as prompts ask for it: a list of 1 to 5 criteria with short names."""
    weight = {"type": "integer", "minimum": 1, "maximum": 5}
    criterion = _object({"name": {**_TEXT, "maxLength": 120}, "gold": _TEXT, "description": _TEXT, "weight": weight})
    return {"type": "array", "items": criterion, "minItems": 1, "maxItems": MAX_CRITERIA}


def tagged_evaluation_schema(criteria: Sequence[Criterion]) -> JsonSchema:
    """Return the schema of an evaluation between its tags: a list with name, thoughts and rating for each of `criteria`."""
    fields = {"thoughts": _TEXT, "rating": {"enum": [0, 1, 2]}}
    entries = [_object({"name": {"enum": [criterion.name]}, **fields}) for criterion in criteria]
    return {"type": "array", "prefixItems": entries, "minItems": len(entries), "items": False}


def evaluation_schema(criteria: Sequence[Criterion]) -> JsonSchema:
    """Return the schema of an evaluation: for each of `criteria` its exact name, thoughts, and a rating of 0, 1 or 2."""
    return _object(
        {
            f"criterion_{number}": _object(
                {"name": {"enum": [criterion.name]}, "thoughts": _TEXT, "rating": {"enum": [0, 1, 2]}}
            )
            for number, criterion in enumerate(criteria, 1)
        }
    )


def ratings_schema(count: int) -> JsonSchema:
    """Return the schema of bare ratings: for each criterion's number, 1 to `count`, a rating of 0, 1 or 2."""
    return _object({str(number): {"enum": [0, 1, 2]} for number in range(1, count + 1)})
