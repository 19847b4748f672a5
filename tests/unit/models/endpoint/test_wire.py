"""Requests as they go over the wire."""

from typing import Any

from pop_selfplay.method.rubric_json import evaluation_schema, ratings_schema, rubric_schema
from pop_selfplay.models.endpoint.wire import typed
from pop_selfplay.records import Criterion


def faults(schema: Any) -> list[Any]:
    """Return every node that OpenAI's strict mode refuses: without a type, or an object that does not require all it has."""
    if not isinstance(schema, dict):
        return []
    bad = [schema] if "type" not in schema else []
    if schema.get("type") == "object":
        listed = schema.get("required") == list(schema["properties"]) and schema.get("additionalProperties") is False
        bad += [] if listed else [schema]
    return bad + [found for part in (*schema.get("properties", {}).values(), schema.get("items")) for found in faults(part)]


def test_every_schema_is_valid_under_strict_mode() -> None:
    criteria = [Criterion(name="dose", description="d", weight=1, gold="g")]
    for schema in (rubric_schema(), evaluation_schema(criteria), ratings_schema(3)):
        assert faults(typed(schema)) == []


def test_an_enum_of_names_is_text_and_one_of_ratings_whole_numbers() -> None:
    assert typed({"enum": ["a"]}) == {"type": "string", "enum": ["a"]}
    assert typed({"enum": [0, 1]}) == {"type": "integer", "enum": [0, 1]}
