"""openai: preference pairs for OpenAI's preference fine-tuning (method `dpo`), one JSON object a line and nothing beside.

`input` holds the conversation, `preferred_output` and `non_preferred_output` one assistant message each
(platform.openai.com/docs/guides/direct-preference-optimization). Reasoning stays in the answers, as in pairs.parquet.
"""

from typing import Final

import pyarrow as pa

from pop_selfplay.exports.formats import JSON_LINES, PairFormat, plain
from pop_selfplay.journal.pairs import MESSAGES
from pop_selfplay.records import PreferencePair


def row(pair: PreferencePair) -> dict[str, object]:
    """Return one line of the file."""
    return {
        "input": {"messages": plain(pair.prompt), "tools": [], "parallel_tool_calls": True},
        "preferred_output": plain(pair.chosen),
        "non_preferred_output": plain(pair.rejected),
    }


FORMAT: Final = PairFormat(
    row, pa.schema([("input", pa.null()), ("preferred_output", MESSAGES), ("non_preferred_output", MESSAGES)]), JSON_LINES
)
