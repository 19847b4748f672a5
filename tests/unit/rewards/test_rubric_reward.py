"""`pop_selfplay.reward` by itself: TRL's signature, any event loop, the run's own judge, requests that make no sense."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.runs import simulated_config, write_texts
from tests.unit.stages.scripted import PROBLEM, RUBRIC

import pop_selfplay as pop
from pop_selfplay.errors import ConfigError, DomainError, UsageError

JUDGE = {"type": "simulated"}
COLUMNS = {"rubric": [RUBRIC.model_dump_json()] * 3, "problem": [PROBLEM.text] * 3}
COMPLETIONS = ["<answer>two drops</answer>", "no tag at all", [{"role": "assistant", "content": "<answer>a cup</answer>"}]]


@pytest.fixture
def reward() -> Iterator[pop.RubricReward]:
    with pop.reward(judge=JUDGE) as made:
        yield made


def test_it_has_trl_s_signature_and_gives_one_number_per_completion(reward: pop.RubricReward) -> None:
    rewards = reward(prompts=["?"] * 3, completions=COMPLETIONS, completion_ids=[[1]] * 3, trainer_state=None, **COLUMNS)
    assert rewards[1] == 0
    assert all(value is not None and 0 <= value <= 2 for value in rewards)
    assert reward.__name__ == "rubric"


def test_the_same_answers_get_the_same_rewards_in_any_loop(reward: pop.RubricReward) -> None:
    samples = asyncio.run(reward.score_answers(["?"] * 3, COMPLETIONS, **COLUMNS))
    assert [sample.reward for sample in samples] == reward(["?"] * 3, COMPLETIONS, **COLUMNS)
    assert [sample.reason for sample in samples] == ["", "no_tag", ""]


def test_weights_are_laid_over_the_score() -> None:
    long = [f"<answer>{'word ' * 98}</answer>"]
    columns = {name: values[:1] for name, values in COLUMNS.items()}
    with pop.reward(judge=JUDGE) as plain, pop.reward(judge=JUDGE, format_reward=0.25, length_penalty=1.0) as shaped:
        (score,), (shaped_one,) = plain(["?"], long, **columns), shaped(["?"], long, **columns)
    assert score is not None and shaped_one is not None
    assert shaped_one == pytest.approx(score + 0.25 - len(long[0].split()) / 100)


def test_trl_s_log_gets_the_shares_that_failed_or_did_not_parse(reward: pop.RubricReward) -> None:
    logged: dict[str, float] = {}
    reward(["?"] * 3, COMPLETIONS, log_metric=logged.__setitem__, **COLUMNS)
    assert logged == {"rubric/judge_failures": 0.0, "rubric/invalid": pytest.approx(1 / 3)}


def test_a_judge_that_fails_gives_none_and_never_a_low_reward() -> None:
    with pop.reward(judge={"type": "simulated", "malformed_rate": 1.0}) as reward:
        samples = reward.samples(["?"] * 3, COMPLETIONS, **COLUMNS)
    assert [sample.reward for sample in samples] == [None, 0.0, None]
    assert samples[0].reason != ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    pop.run(simulated_config(write_texts(folder / "texts", 4), documents=3, judge={"attempts": 9}), folder / "run")
    return folder / "run"


def test_a_run_brings_its_problems_its_judge_and_its_way_of_judging(run: Path, tmp_path: Path) -> None:
    rows = exported(run, tmp_path)
    with pop.reward(run) as reward:
        by_id = reward([row["prompt"] for row in rows], ["<answer>x y z</answer>"] * len(rows), problem_id=ids(rows))
        by_prompt = reward([row["prompt"] for row in rows], ["<answer>x y z</answer>"] * len(rows))
    assert by_id == by_prompt and all(value is not None for value in by_id)


def test_an_exported_dataset_needs_no_run_beside_it(run: Path, tmp_path: Path) -> None:
    rows = exported(run, tmp_path)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    prompts = columns.pop("prompt")
    answers = ["<answer>x y z</answer>"] * len(rows)
    judge = {"type": "simulated", "malformed_rate": 0.15}
    with pop.reward(run) as of_run, pop.reward(judge=judge, domain="health_care") as alone:
        assert len(alone(prompts, answers, **columns)) == len(of_run(prompts, answers, problem_id=ids(rows))) == len(rows)


def exported(run: Path, tmp_path: Path) -> list[dict[str, Any]]:
    pop.export(run, tmp_path / "problems.jsonl", "grpo")
    return [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text(encoding="utf-8").splitlines()]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["problem_id"] for row in rows]


def test_verdicts_can_be_kept_for_a_later_training(tmp_path: Path) -> None:
    judge, rewards = JUDGE | {"malformed_rate": 0.0}, []
    for _ in range(2):
        with pop.reward(judge=judge, journal=tmp_path / "verdicts.db") as reward:
            rewards.append(reward(["?"] * 3, COMPLETIONS, **COLUMNS))
        with closing(sqlite3.connect(tmp_path / "verdicts.db")) as db:
            assert db.execute("SELECT count(*) FROM calls").fetchone() == (2,)
    assert rewards[0] == rewards[1]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({}, UsageError, "judge is missing"),
        ({"judge": JUDGE, "format_reward": -1.0}, UsageError, r"format_reward -1\.0"),
        ({"judge": JUDGE, "length_penalty": float("nan")}, UsageError, "length_penalty nan"),
        ({"judge": JUDGE, "domain": "no_such_domain"}, DomainError, "no_such_domain"),
        ({"judge": JUDGE, "scoring": "guess"}, ConfigError, "scoring"),
        ({"judge": JUDGE, "max_tokens": 0}, ConfigError, "max_tokens"),
        ({"rubrics": "/nowhere"}, ConfigError, "no run directory"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        pop.reward(**arguments)


@pytest.mark.parametrize(("prompts", "completions"), [(["?"], []), (["?"], ["a", "b"]), ([], ["a"])])
def test_as_many_completions_as_prompts_are_needed(
    prompts: list[str], completions: list[str], reward: pop.RubricReward
) -> None:
    with pytest.raises(UsageError, match="give one completion for each prompt"):
        reward.samples(prompts, completions, **COLUMNS)


def test_half_a_surrogate_pair_in_prompt_and_answer_is_replaced(tmp_path: Path) -> None:
    columns = {name: values[:1] for name, values in COLUMNS.items()}
    with pop.reward(judge=JUDGE, journal=tmp_path / "verdicts.db") as reward:
        (sample,) = reward.samples(["half \ud83d?"], ["<answer>two \ud83d drops</answer>"], **columns)
    assert sample.answer == "two \ufffd drops" and sample.score is not None


def test_a_problem_without_rubric_can_only_be_verified() -> None:
    columns = {"rubric": [""], "problem": ["1 + 1?"], "reference_answer": ["\\boxed{2}"]}
    answer = ["<answer>\\boxed{2}</answer>"]
    with pop.reward(judge=JUDGE, domain="math", scoring="verify") as verified, pop.reward(judge=JUDGE) as judged:
        assert verified(["?"], answer, **columns) == [2.0]
        with pytest.raises(UsageError, match="has no rubric to score by"):
            judged(["?"], answer, **columns)
