"""Bradley-Terry: the strength of each player from who beat whom, with features of the games held constant where they are given.

    logit P(a beats b) = strength(a) − strength(b) + effects · features of the game

With features of style this is the style control of Chatbot Arena and Arena-Hard: what is left of a lead when the answers of
both sides are equally long and equally decorated. `elo.py` shows strengths on the scale of chess.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pop_selfplay.core.logistic import fit_logistic

RIDGE: Final = 0.01
"""Keeps the strength of a player finite that won or lost everything."""
_ALIKE: Final = 1e-9
"""A feature that varies less is the same in all games, and cannot be told from a strength."""


class Game(NamedTuple):
    """One comparison: `score` in [0, 1] is 1 where `a` won, 0.5 for a draw; `weight` ≥ 0 is how much it counts."""

    a: str
    b: str
    score: float
    weight: float = 1.0


class Strengths(NamedTuple):
    """`by_player` in logits, 0 for the anchor; `effects` in logits for one standard deviation of each feature."""

    by_player: dict[str, float]
    effects: tuple[float, ...]


def strengths(games: Sequence[Game], anchor: str, features: Sequence[Sequence[float]] | None = None) -> Strengths:
    """Return the strengths of all players of `games`, that of `anchor` being 0.

    `features` holds one row for each game, the same length everywhere: a's side minus b's. Columns are divided by their
    standard deviation, not centred, so that an effect is 0 where both sides are alike.
    """
    players = sorted({player for game in games for player in (game.a, game.b)} - {anchor})
    place = {player: number for number, player in enumerate(players)}
    design = np.zeros((len(games), len(players)))
    for row, game in enumerate(games):
        for player, sign in ((game.a, 1.0), (game.b, -1.0)):
            if player in place:
                design[row, place[player]] += sign
    if features is not None and len(games):
        columns = np.array(features, dtype=np.float64).reshape(len(games), -1)
        spread = columns.std(axis=0)
        design = np.hstack([design, np.divide(columns, spread, out=np.zeros_like(columns), where=spread > _ALIKE)])
    targets, weights = np.array([game.score for game in games]), np.array([game.weight for game in games])
    found = fit_logistic(design, targets, weights, np.full(design.shape[1], RIDGE)).tolist()
    return Strengths({anchor: 0.0, **dict(zip(players, found, strict=False))}, tuple(found[len(players) :]))
