"""The benchmark against a real server counts what was asked, also where nothing came of it."""

from argparse import Namespace
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the extra local: pip install 'pop-selfplay[local]'")

from benchmarks.real_server import NAME, config_of, played
from tests.integration.runs import write_texts

from pop_selfplay.config import SimulatedModel
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app

ASKED = Namespace(at_once=4, documents=3, candidates=2, constrain="none")


@pytest.mark.parametrize(
    ("broken", "roles"),
    [(0.0, {"proposer", "solver", "rubric_writer", "judge"}), (1.0, {"proposer"})],
    ids=["a model that keeps its form", "one that never does, asked twice"],
)
def test_every_completion_counts_with_its_lengths(broken: float, roles: set[str], tmp_path: Path) -> None:
    model = SimulatedChatModel(SimulatedModel(malformed_rate=broken), name=NAME)
    with serving(simulated_app(model)) as url:
        found = played(config_of(url, write_texts(tmp_path / "texts", 3), ASKED, 0), tmp_path / "run")
    assert set(found.roles) == roles and found.roles["proposer"] == (6 if broken else 3)
    assert len(found.lengths) == sum(found.roles.values())
    assert all(prompt > 0 and generated > 0 for prompt, generated in found.lengths)
