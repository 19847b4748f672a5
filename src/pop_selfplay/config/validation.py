"""What every node of the config tree is made of, bounded numbers and names, and what is wrong with plain data, in words."""

import difflib
import re
from collections.abc import Iterable, Mapping
from itertools import chain, islice
from typing import Annotated, Any, Final, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

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


_SHOWN: Final = 120
_LARGEST: Final = 10**16
"""No setting counts so far, and floats lose whole numbers from there on."""
_OF_A_SETTING: Final = "of_a_setting"
"""The kind of error that `Config` raises about one of its settings, which is named in the context."""
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def complaints(error: ValidationError, kind: Any) -> list[str]:
    """Return one line for each fault: where it is, what is wrong, what was found or is allowed.

    `kind` is the type that the data was to become: a model, or any annotation made of models, unions, lists and dicts. It
    gives the names that are allowed, and keeps the tags of unions, which nobody wrote, out of the path.
    """
    return [_line(fault, kind) for fault in error.errors(include_url=False)]


def _line(fault: ErrorDetails, kind: Any) -> str:
    loc = fault["loc"]
    if fault["type"] == _OF_A_SETTING:
        loc = (*loc, fault["ctx"]["setting"])
    place, node, parent = _walk(loc, kind)
    where = ".".join(place)
    words = _words(fault, node, parent)
    return f"{where}: {words}" if where else words


def _words(fault: ErrorDetails, node: Any, parent: Any) -> str:
    found, context = fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            names = [name for model in _models(parent) for name in model.model_fields]
            return "there is no such setting" + _nearest(str(fault["loc"][-1]), names)
        case "missing":
            return "is missing"
        case "union_tag_not_found":
            return f"needs a `type`, one of {', '.join(_tags(node))}"
        case "union_tag_invalid":
            return f"there is no type {context['tag']!r}" + _nearest(str(context["tag"]), list(_tags(node)))
        case "value_error":
            said = fault["msg"].removeprefix("Value error, ")
            return said if isinstance(found, (Mapping, BaseModel)) else f"{said} (got {found!r:.{_SHOWN}})"
        case _ if fault["type"] == _OF_A_SETTING:
            return f"{context['why']} (got {context['found']!r:.{_SHOWN}})"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"must be a mapping, as in {{name: value}} (got {found!r:.{_SHOWN}})"
        case "list_type":
            return f"must be a list, as in [a, b] (got {found!r:.{_SHOWN}})"
    return f"{fault['msg']} (got {found!r:.{_SHOWN}})"


def _nearest(written: str, names: list[str]) -> str:
    close = difflib.get_close_matches(written, names, 1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; allowed are {', '.join(names)}" if names else ""


def _walk(loc: Iterable[int | str], kind: Any) -> tuple[list[str], Any, Any]:
    """Return the path as one writes it, the type at that path, and the type that contains it; None for an unknown type."""
    place: list[str] = []
    node, parent = kind, None
    for step in loc:
        if step == "[key]":  # the key of a mapping is wrong; its name is in the place already
            continue
        tagged = _tags(node)
        if len(tagged) > 1 and step in tagged:
            node = tagged[str(step)]
            continue
        place.append(str(step))
        node, parent = _child(node, step), node
    return place, node, parent


def _child(node: Any, step: int | str) -> Any:
    for model in _models(node):
        if step in model.model_fields:
            return model.model_fields[str(step)].annotation
    for member in _members(node):
        if get_origin(member) in (dict, list, tuple):
            return get_args(member)[1 if get_origin(member) is dict else 0]
    return None


def _tags(node: Any) -> dict[str, type[BaseModel]]:
    """Return the models of a union by the value of their `type`."""
    return {model.model_fields["type"].default: model for model in _models(node) if "type" in model.model_fields}


def _models(node: Any) -> list[type[BaseModel]]:
    return [member for member in _members(node) if isinstance(member, type) and issubclass(member, BaseModel)]


def _members(node: Any) -> list[Any]:
    """Return the alternatives of a union, or the one type that `node` is."""
    if get_origin(node) is Annotated:
        return _members(get_args(node)[0])
    if isinstance(node, type) and issubclass(node, Variants) and node.variants():
        return list(node.variants().values())
    if get_origin(node) in (dict, list, tuple) or not get_args(node):
        return [node]
    return [found for member in get_args(node) for found in _members(member)]


def _refuse_lookalikes(value: object, kind: Any) -> None:
    """Raise ValueError where `value`, or a part of it, would be taken for what it is not, or can be stored nowhere.

    `kind` is the type it is to become. Settings that hold settings of their own are not looked into: those look themselves.
    """
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise ValueError("has a character that no text file can store (NUL, or half of a surrogate pair)")
    if not isinstance(value, (int, float, Mapping, list, tuple)):
        return  # most values: what follows takes longer
    kinds = _members(kind)
    wanted = {int, float} & set(kinds)
    if isinstance(value, bool) and wanted and bool not in kinds:
        raise ValueError("must be a number, not true or false")
    if isinstance(value, (int, float)) and wanted and abs(value) > _LARGEST:
        raise ValueError("is too large a number")
    if isinstance(value, (int, float)) or _models(kind):
        return
    parts = [part for one in kinds if get_origin(one) in (dict, list, tuple) for part in get_args(one)]
    if isinstance(value, Mapping):
        for key, held in value.items():
            _refuse_lookalikes(key, str)
            _refuse_lookalikes(held, parts[-1] if parts else Any)
    elif isinstance(value, (list, tuple)):
        for held in value:
            _refuse_lookalikes(held, parts[0] if parts else Any)


def _typed(value: object, default: object) -> object:
    """Return settings that name no `type` with the one that they have by default, if there is one."""
    if isinstance(value, Mapping) and "type" not in value and isinstance(kind := getattr(default, "type", None), str):
        return {"type": kind, **value}
    return value


class Config(BaseModel):
    """Base of all config nodes: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _holds_what_it_seems_to(cls, data: object) -> object:
        if not isinstance(data, Mapping):
            return data
        held = dict(data)
        for name, field in cls.model_fields.items():
            if name not in held:
                continue
            value = held[name]
            try:
                _refuse_lookalikes(value, field.annotation)
            except ValueError as error:
                raise PydanticCustomError(
                    _OF_A_SETTING, "{setting}: {why}", {"setting": name, "why": str(error), "found": value}
                ) from error
            held[name] = _typed(value, field.default)
        return held

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Return a copy with other settings, as if it had been written so.

        Raises ValidationError where they make no sense together; pydantic's `model_copy` would not check.
        """
        return type(self).model_validate({**self.model_dump(), **changes})


class Variants(Config):
    """Base of config nodes of one family, told apart by `type`, to which other packages may add.

    A field that is annotated with the family's root holds any of its members.
    """

    @classmethod
    def variants(cls) -> Mapping[str, type["Variants"]]:
        """Return the members by their `type`; {} for a member."""
        raise NotImplementedError
