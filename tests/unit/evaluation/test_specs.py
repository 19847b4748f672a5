"""A model is named in one way everywhere: directory, hub name, endpoint, YAML file, run; and two weights are never mixed up."""

import os
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.config import parse_config
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation import specs
from pop_selfplay.evaluation.specs import find_model, start_of_run
from pop_selfplay.journal import RunDirectory
from pop_selfplay.models.endpoint import EndpointChatModel
from pop_selfplay.results.run import BestModel


def a_run(path: Path, rounds: int = 2, **settings: Any) -> Path:
    """Make a run directory whose first round has a model."""
    config = {
        "domain": "math",
        "corpus": {"type": "files", "paths": ["texts"]},
        "model": {"type": "local", "path": "org/start", "dtype": "float32"},
        "rounds": rounds,
        **settings,
    }
    RunDirectory.create(path, parse_config(config)).model_path(1).mkdir(parents=True)
    (path / "models" / "round-1" / "model.safetensors").write_bytes(b"one")
    return path


def test_an_endpoint_is_a_url_and_a_name() -> None:
    found = find_model("http://localhost:8000/v1#qwen")
    assert found.label == "http://localhost:8000/v1#qwen" and isinstance(found.open(print), EndpointChatModel)
    with pytest.raises(UsageError, match="names no model"):
        find_model("http://localhost:8000/v1")


def test_a_yaml_file_holds_any_model_config(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("{type: endpoint, base_url: 'http://localhost/v1', model: m, max_in_flight: 7}", encoding="utf-8")
    assert find_model(str(path)).in_flight == 7
    path.write_text("{type: endpoint, model: m}", encoding="utf-8")
    with pytest.raises(ConfigError, match="base_url"):
        find_model(str(path))
    path.write_text("{type: local, path: x, devise: cpu}", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean device") as raised:
        find_model(str(path))
    assert "pydantic" not in str(raised.value)
    with pytest.raises(ConfigError, match="No such file"):
        find_model(str(tmp_path / "none.yaml"))


def test_a_run_stands_for_its_last_model_and_its_start_for_what_it_began_with(tmp_path: Path) -> None:
    run = a_run(tmp_path / "mine")
    assert [find_model(text).label for text in (str(run), f"{run}#1")] == ["mine#1", "mine#1"]
    start = start_of_run(run)
    assert start.label == "mine#0" and start.identity == find_model(f"{run}#0").identity
    assert start.identity != find_model(str(run)).identity
    for wrong in ("#2", "#9", "#x"):
        with pytest.raises(UsageError):
            find_model(f"{run}{wrong}")


def test_weights_that_change_in_place_are_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "model"
    weights.mkdir()
    (weights / "model.safetensors").write_bytes(b"one")
    before = find_model(str(weights)).identity
    assert find_model(str(weights)).identity == before
    (weights / "model.safetensors").write_bytes(b"two")
    os.utime(weights / "model.safetensors", ns=(1, 1))
    assert find_model(str(weights)).identity != before


def test_a_run_that_trains_nothing_points_to_its_starting_model(tmp_path: Path) -> None:
    run = a_run(tmp_path / "mine", 1, training={"type": "none"})
    with pytest.raises(UsageError, match="mine#0"):
        find_model(str(run))
    assert find_model(f"{run}#0").label == "mine#0"


def test_a_run_whose_best_model_is_its_start_has_nothing_to_be_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path / "mine")
    monkeypatch.setattr(specs, "best_model", lambda session: BestModel(round=0, path="pocket", best_by="self_play.greedy"))
    with pytest.raises(UsageError, match=r"no round of .*mine made a better model.*mine#1"):
        pop.evaluate(str(run), suite="gsm8k", data_dir=tmp_path)
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What?\n", encoding="utf-8")
    for a, b in ((str(run), f"{run}#0"), (f"{run}#0", str(run))):
        with pytest.raises(UsageError, match=r"by what was measured so far.*mine stands for .*mine#0.*mine#1"):
            pop.duel(a, b, judge="simulated", prompts=prompts, out=tmp_path / "duel")


@pytest.mark.parametrize("text", ["./nowhere", "/nowhere", "runs/typo", "a/b/c", "typo#1", "org/name#0"])
def test_a_mistyped_path_is_refused_before_the_hub_is_asked(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match="neither a directory, nor a run"):
        find_model(text)
    assert [find_model(name).label for name in ("org/name", "gpt2")] == ["org/name", "gpt2"]
