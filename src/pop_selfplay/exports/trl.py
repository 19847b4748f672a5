"""trl: preference pairs in TRL's conversational format, as pairs.parquet has them."""

from typing import Final

from pop_selfplay.exports.formats import PairFormat
from pop_selfplay.journal.pairs import SCHEMA, row_of

FORMAT: Final = PairFormat(row_of, SCHEMA)
