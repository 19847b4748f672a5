"""`pop schema`: the JSON schemas of what users and other programs read and write.

The published copies in docs/schemas/ are the output of this command. The next schema is a line in `schema_of`.
"""

import enum
import json
from typing import Annotated

import typer

from pop_selfplay.cli.app import app


class Described(enum.StrEnum):
    """The files that have a schema."""

    RESULT = "result"
    EVAL = "eval"
    AUDIT = "audit"
    DUEL = "duel"
    CONFIG = "config"


@app.command()
def schema(
    of: Annotated[Described, typer.Argument(help="result.json, eval.json, audit.json, duel.json, or a run config")],
) -> None:
    """Print the JSON schema (draft 2020-12) of a result file or of a run config."""
    typer.echo(schema_of(of), nl=False)


def schema_of(of: Described) -> str:
    """Return the JSON schema as text, with a description for each field."""
    from pydantic.json_schema import GenerateJsonSchema

    from pop_selfplay.config import RunConfig
    from pop_selfplay.results import RESULT_FILES

    if of is Described.CONFIG:
        found = RunConfig.model_json_schema()
    else:
        found = RESULT_FILES[of.value].model_json_schema(mode="serialization")
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **found}, indent=1, ensure_ascii=False) + "\n"
