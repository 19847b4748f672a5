"""The same run on a served model: an endpoint plays all roles, its weights are trained here, and the result is measured."""

from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.config import EndpointModel, LocalModel
from pop_selfplay.models import POCKET_WEIGHTS, open_model
from pop_selfplay.models.simulated.server import serving, simulated_app
from tests.e2e.test_pocket_loop import check_yield, small_config
from tests.learning import Margins

pytestmark = pytest.mark.timeout(300)


@pytest.mark.learning
def test_a_served_model_synthesises_is_trained_and_measured(tmp_path: Path, margins: Margins) -> None:
    served = open_model(LocalModel(path=str(POCKET_WEIGHTS)), name="pocket")
    with serving(simulated_app(served)) as base_url:
        model = EndpointModel(base_url=base_url, model="pocket", weights=str(POCKET_WEIGHTS), patience_s=30)
        result = pop.run(small_config(model=model), tmp_path / "run")
    round_ = result.rounds[0]
    check_yield(round_.model_dump(), margins)
    assert round_.tokens.prompt > 0 and round_.tokens.generated > 0
    assert (tmp_path / "run" / "models" / "round-1" / "model.safetensors").is_file()
    assert result.measure["self_play"]["greedy"].after.n > 100
