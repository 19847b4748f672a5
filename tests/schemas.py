"""The published JSON schemas, for every test that has a result file at hand."""

import json
from pathlib import Path

from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).parents[1] / "docs" / "schemas"


def assert_valid(path: Path, of: str) -> None:
    """Raise unless the file at `path` is what docs/schemas/`of`.json says."""
    schema = json.loads((SCHEMAS / f"{of}.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads(path.read_text(encoding="utf-8")))
