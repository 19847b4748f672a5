"""A budget stops a run cleanly, and what the run then does later is what it would have done anyway."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.cli import run as pop_command
from pop_selfplay.config import RunConfig, SimulatedModel, dump_config, load_config, parse_config
from pop_selfplay.errors import BudgetSpent, ConfigError
from pop_selfplay.journal import Journal, RunDirectory
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from tests.integration.runs import simulated_config, write_texts


def with_budget(config: RunConfig, **budget: Any) -> RunConfig:
    return parse_config({**config.model_dump(mode="json"), "budget": budget})


def pairs(directory: Path) -> bytes:
    out = directory.parent / f"{directory.name}.jsonl"
    pop.export(directory, out)
    return out.read_bytes()


def test_a_run_stops_at_its_budget_and_goes_on_to_the_same_pairs_once_it_is_raised(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    pop.run(config, tmp_path / "undisturbed")
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(with_budget(config, tokens=20_000)), encoding="utf-8")
    assert pop_command(["run", str(path), "--out", str(tmp_path / "run")]) == 4
    said = capfd.readouterr().err
    assert "of 20,000 tokens (budget.tokens)" in said and "--set budget.tokens=..." in said
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        used = journal.tally.total_tokens("prompt") + journal.tally.total_tokens("generated")
    assert 20_000 <= used < 22_000  # what was in flight was kept, and was little
    assert pop_command(["run", str(tmp_path / "run")]) == 4
    assert f"resume with a higher limit: pop run {tmp_path / 'run'} --set budget.tokens=..." in capfd.readouterr().err
    assert pop_command(["status", str(tmp_path / "run")]) == 0
    standing = capfd.readouterr().out.splitlines()[0]
    assert re.match(r"round 1 of 1: \d+ of 12 episodes finished; no process", standing)
    assert standing.endswith(f"resume with: pop run {tmp_path / 'run'}")
    assert pop_command(["status", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["standing"] == standing
    assert pop_command(["run", str(tmp_path / "run"), "--set", "budget.tokens=null"]) == 0
    capfd.readouterr()
    assert pop_command(["status", str(tmp_path / "run")]) == 0
    assert "round 1 of 1: 12 of 12 episodes finished; the run is finished\n" in capfd.readouterr().out
    with RunDirectory.open(tmp_path / "run"):
        assert pop_command(["status", str(tmp_path / "run")]) == 0
    assert "; a process is working on it\n" in capfd.readouterr().out
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Nothing was measured: training.type is none" in page and "<th>money</th>" not in page
    assert pairs(tmp_path / "run") == pairs(tmp_path / "undisturbed")
    assert load_config(tmp_path / "run" / "config.yaml").budget.tokens is None


def test_only_settings_that_change_no_result_may_change_in_the_middle_of_a_run(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12), documents=2)
    pop.run(config, tmp_path / "run")
    moved = parse_config({**config.model_dump(mode="json"), "model": {**config.model.model_dump(), "seconds_per_call": 0.001}})
    pop.run(moved, tmp_path / "run")
    with pytest.raises(ConfigError, match="seed"):
        pop.run(parse_config({**config.model_dump(mode="json"), "seed": 7}), tmp_path / "run")


def test_money_is_what_the_tokens_of_the_journal_cost_and_stops_the_run(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12)).model_dump(mode="json")
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as url:
        prices = {"prompt": 1.0, "generated": 10.0}
        config["model"] = {"type": "endpoint", "base_url": url, "model": "simulated", "prices": prices}
        spent = pop.run(parse_config(config), tmp_path / "whole").rounds[0].usage
        money = sum(used.money for used in spent.values())
        assert money == pytest.approx(sum(u.prompt + 10 * u.generated for u in spent.values()) / 1e6, abs=1e-5)
        assert {"proposer", "solver", "rubric_writer", "judge"} == set(spent)
        config["budget"] = {"money": money / 2}
        with pytest.raises(BudgetSpent, match=r"budget\.money"):
            pop.run(parse_config(config), tmp_path / "half")


def test_hours_add_up_over_sessions(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    pop.run(with_budget(config, hours=1), tmp_path / "run")
    with Journal.open(tmp_path / "run" / "run.db") as journal:
        journal.note("seconds/1/synthesis", "3601")
        journal._db.execute("DELETE FROM episodes WHERE round = 1")
    with pytest.raises(BudgetSpent, match=r"1\.00 of 1\.00 hours"):
        pop.run(with_budget(config, hours=1), tmp_path / "run")


def test_a_dry_run_prints_the_plan_and_makes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12))
    (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    assert pop_command(["synth", str(tmp_path / "c.yaml"), "--dry-run", "--tokens-per-second", "1000"]) == 0
    assert "plan: 12 documents, about 58 s" in capfd.readouterr().out
    assert sorted(tmp_path.iterdir()) == before


def test_a_dry_run_takes_no_run_directory(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(dump_config(simulated_config(tmp_path)), encoding="utf-8")
    for option in ("--out", "--fork-from"):
        assert pop_command(["synth", str(tmp_path / "c.yaml"), "--dry-run", option, str(tmp_path / "run")]) == 2
        assert option in capfd.readouterr().err


def test_a_dry_run_can_go_by_an_earlier_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12), documents=3)
    pop.run(config, tmp_path / "small")
    (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
    assert pop_command(["synth", str(tmp_path / "c.yaml"), "--dry-run", "--like", str(tmp_path / "small")]) == 0
    assert "as in" in capfd.readouterr().out
    assert pop_command(["synth", str(tmp_path / "c.yaml"), "--like", str(tmp_path / "small")]) == 2
