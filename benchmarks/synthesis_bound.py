"""The work of one example in benchmarks/synthesis.py, and what it takes on a machine whose slots are never empty."""

import math
from typing import Final

from pop_selfplay.models.simulated.prose import LENGTHS
from pop_selfplay.models.simulated.timing import Machine

DOCUMENT_WORDS: Final = 400
CANDIDATES: Final = 32
SHOWN: Final = 10
"""Candidates that the rubric writer sees."""
TOKENS_PER_WORD: Final = 1.33
MACHINE: Final = Machine()


def bound(tokens: dict[str, float], machine: Machine = MACHINE) -> float:
    """Return the seconds that `tokens` take on a machine whose slots are never empty."""
    step_s = machine.step_base_s + machine.slots * machine.step_per_sequence_s
    writing = tokens["generated"] * step_s / machine.slots
    return writing + (tokens["prompt"] - tokens["cached"]) / machine.prefill_tokens_per_s


def expected() -> dict[str, float]:
    """Return the tokens of an example by the lengths of the parts alone, as a check on what was counted.

    A log-normal length has the mean median·exp(σ²/2); a word has 1.33 tokens. The JSON of one item comes to 19 tokens in an
    evaluation and to 28 in a rubric, tags to 6; a prompt's last, unfinished block and what follows the answer in it to 30.
    """

    def tokens(median: float, spread: float) -> float:
        return TOKENS_PER_WORD * median * math.exp(spread**2 / 2)

    usual = LENGTHS["realistic"]
    answer, criteria = tokens(usual.answer, usual.spread), usual.criteria[1]
    problem, reference = tokens(usual.problem, 0.3), tokens(usual.reference, 0.35)
    rubric = criteria * (tokens(usual.gold, 0.35) + tokens(usual.description, 0.3) + 28)
    evaluation = criteria * (tokens(usual.judging, 0.35) + 19)
    document = TOKENS_PER_WORD * DOCUMENT_WORDS
    read_once = 2 * document + 3 * problem + reference + rubric + SHOWN * answer
    return {
        "generated": problem + reference + rubric + CANDIDATES * (tokens(usual.thinking, 0.4) + answer + evaluation + 12),
        "prompt": read_once + CANDIDATES * (answer + 30),
        "cached": 0.0,
    }
