"""Configs of runs that play nothing but the simulated model, for the tests of this room."""

from typing import Any

from pop_selfplay.config import RunConfig, parse_config


def make_config(**changes: Any) -> RunConfig:
    config = {
        "domain": "health_care",
        "corpus": {"type": "files", "paths": ["texts"]},
        "model": {"type": "simulated"},
        "training": {"type": "none"},
        "measure": {"type": "none"},
    }
    return parse_config(config | changes)
