"""JSON schemas of what the rubric writer and the judge write, for servers that decode by a schema.

Thoughts come first: a schema leaves no room to think before the JSON. The parsers of `method/parsing.py` read what these allow.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from pop_selfplay.method.parsing import MAX_CRITERIA
from pop_selfplay.records import Criterion

JsonSchema: TypeAlias = dict[str, Any]  # as the standard has it: any JSON
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
