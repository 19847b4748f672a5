"""Strengths on the Elo scale: 400 points are odds of ten to one."""

import math
from typing import Final

ANCHOR: Final = 1000.0
POINTS_PER_LOGIT: Final = 400 / math.log(10)


def elo(strength: float, anchor: float = ANCHOR) -> float:
    """Return the rating of a strength in logits, where strength 0 has the rating `anchor`."""
    return anchor + POINTS_PER_LOGIT * strength
