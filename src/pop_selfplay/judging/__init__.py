"""How candidates are scored: one class per scoring mode, and the table of all of them.

    base.py       what a mode declares, and how it asks its judge; modes from installed packages
    rating.py     one answer at a time: pointwise (the paper's way) and per_criterion
    logprob.py    the same by bare ratings, as expected values over the judge's tokens
    comparing.py  two answers at a time, in both orders: pairwise and anchor
    verify.py     no judge: the final answer is compared with the reference's

A new mode is a class in a file here and a line in `MODES`; outside of this package it is a class and a call of `register`, or
an entry point. Nobody else knows a mode by its name: a room that has to know something about modes asks the class.
When the judge fails, a candidate has no score; it never gets a low one for it. docs/scoring.md compares the modes.
"""

import difflib
from collections.abc import Container
from typing import Final

from pop_selfplay.errors import ConfigError
from pop_selfplay.judging.base import Judge, PromptFile, ScoringMode, load_plugin, plugin_names, rubric_json, voted
from pop_selfplay.judging.comparing import Anchor, ComparingMode, Pairwise
from pop_selfplay.judging.logprob import Logprob
from pop_selfplay.judging.rating import PerCriterion, Pointwise, RatingMode, Ratings, ask_ratings
from pop_selfplay.judging.verify import Verify
from pop_selfplay.method.rewards import SCORES

__all__ = [
    "DEFAULT",
    "MODES",
    "ComparingMode",
    "Judge",
    "PromptFile",
    "RatingMode",
    "Ratings",
    "ScoringMode",
    "ask_ratings",
    "by_itself",
    "find_mode",
    "find_rating_mode",
    "mode_names",
    "prompts_of",
    "register",
    "rubric_json",
    "voted",
]

MODES: Final[dict[str, ScoringMode]] = {
    mode.name: mode for mode in (Pointwise(), PerCriterion(), Pairwise(), Anchor(), Logprob(), Verify())
}
"""Every mode that is loaded, by its name. Those of installed packages join when they are first asked for."""

DEFAULT: Final = Pointwise.name
"""The paper's mode, with which all others are compared."""


def mode_names() -> list[str]:
    """Return the names of all modes there are, also of those in installed packages that are not loaded yet."""
    return [*MODES, *(name for name in plugin_names() if name not in MODES)]


def find_mode(name: str) -> ScoringMode:
    """Return the mode of this name. Raises ConfigError when there is none, or the package that brings it is broken."""
    if name not in MODES:
        if name not in plugin_names():
            names = mode_names()
            close = difflib.get_close_matches(name, names, 1)
            meant = f"; did you mean {close[0]}?" if close else "."
            raise ConfigError(f"there is no scoring mode {name!r}{meant} Available are {', '.join(names)}")
        register(load_plugin(name))
    return MODES[name]


def register(mode: ScoringMode) -> None:
    """Add a mode to those that a config can name.

    Raises ConfigError for one that cannot work: a name that is taken, a range of scores that nobody could compare, a prompt
    that another mode has with other places.
    """
    if mode.name in MODES:
        raise ConfigError(f"a scoring mode {mode.name!r} already exists: give this one another name")
    if mode.score_range not in (None, SCORES):
        raise ConfigError(
            f"scoring mode {mode.name} has the range {mode.score_range}: absolute scores must be in {SCORES}, "
            "as rewards, measures and thresholds expect; scale them, or declare None where they are relative to the group"
        )
    taken = {prompt.name: prompt for other in MODES.values() for prompt in other.prompts}
    for prompt in mode.prompts:
        if taken.get(prompt.name, prompt).places != prompt.places:
            places = ", ".join(sorted(taken[prompt.name].places))
            raise ConfigError(f"scoring mode {mode.name}: prompt {prompt.name} already has other places ({places}): rename it")
    MODES[mode.name] = mode


def by_itself(mode: ScoringMode) -> ScoringMode:
    """Return the mode that stands in for `mode` where a candidate must be scored without a group: itself, if it can do that."""
    return mode if mode.score_range is not None else MODES[DEFAULT]


def prompts_of(mode: ScoringMode) -> tuple[str, ...]:
    """Return the names of all prompts that a run with this mode needs: its own, and those of its stand-in, which measures."""
    return tuple(dict.fromkeys(prompt.name for prompt in (*mode.prompts, *by_itself(mode).prompts)))


def find_rating_mode(prompts: Container[str]) -> ScoringMode | None:
    """Return the first mode that rates by criterion, on any server, and is content with `prompts`; None where there is none."""
    for mode in MODES.values():
        if mode.rates_criteria and not mode.needs_logprobs and all(prompt.name in prompts for prompt in mode.prompts):
            return mode
    return None
