"""What all result files share: an estimate with its interval, numbers and shares, and how a result is written.

The figures of one kind of result are in that file's own module; see the package.
"""

import json
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from pop_selfplay.records import Record
from pop_selfplay.stats.intervals import Estimate

Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
"""A finite number, written as it came: 1 stays 1."""

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class ReportedEstimate(Record):
    """A mean with its 95 % interval, rounded to 6 decimals; null where it cannot be told."""

    mean: Number | None = Field(description="the mean, in the unit of the figure; null over no observations")
    low: Number | None = Field(description="lower end of the 95 % interval; null where the spread is unknown")
    high: Number | None = Field(description="upper end of the 95 % interval; null where the spread is unknown")
    n: Count = Field(description="observations that the mean is taken over")

    @classmethod
    def of(cls, estimate: Estimate) -> "ReportedEstimate":
        """Return an estimate as result files hold it: rounded, and null where it is not finite."""
        return cls.model_validate(estimate.as_json())


class Tokens(Record):
    """Tokens of many calls, as the models' servers count them."""

    prompt: Count = Field(description="prompt tokens, cached ones included")
    cached: Count = Field(description="prompt tokens that a prefix cache held")
    generated: Count = Field(description="tokens that the models wrote")


class Result(Record):
    """Base of the result files. `model_dump()` gives its content as dicts and lists, `to_json()` as the file holds it."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_: Literal[1] = Field(1, alias="schema", description="1; another number means that fields changed their meaning")

    def to_json(self) -> str:
        """Return the text of the result file: JSON with one field on each line."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


class PairedFigure(Record):
    """One figure of a benchmark: base, model, and the difference over the items that both have it for. n counts items."""

    base: ReportedEstimate | None = Field(description="of the model compared with; null without one")
    model: ReportedEstimate = Field(description="of the measured model")
    difference: ReportedEstimate | None = Field(description="model minus base, paired by item; null without a base")
