"""A wrong setting is named with its place, what was found and what is allowed, in no library's words."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import DPOTraining, ModelConfig, SelfJudgedMeasure, complaints, parse_config
from pop_selfplay.errors import ConfigError

SERVED = {"type": "endpoint", "base_url": "http://localhost/v1", "model": "m"}
GOOD = {"domain": "health_care", "corpus": {"type": "pocket"}, "model": SERVED, "training": {"type": "none"}}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"synthesis": {"candidate": 3}}, "synthesis.candidate: there is no such setting; did you mean candidates?"),
        ({"traning": {}}, "traning: there is no such setting; did you mean training?"),
        ({"budget": {"xyz": 3}}, "budget.xyz: there is no such setting; allowed are tokens, money, hours"),
        ({"corpus": {"paths": ["t"]}}, "corpus: needs a `type`, one of files, hugging_face, pocket"),
        ({"measure": {"questions": 5}}, "measure.questions: there is no such setting; allowed are type, documents, samples"),
        ({"seed": True}, "seed: must be a number, not true or false (got True)"),
        ({"model": {**SERVED, "timeout_s": False}}, "model.timeout_s: must be a number, not true or false (got False)"),
        (
            {"model": {"type": "simulated", "mistakes": {"no_tags": True}}},
            "model.mistakes: must be a number, not true or false (got {'no_tags': True})",
        ),
        ({"synthesis": {"candidates": 10**30}}, f"synthesis.candidates: is too large a number (got {10**30})"),
        (
            {"synthesis": {"documents": 10**9}},
            "synthesis.documents: Input should be less than or equal to 100000000 (got 1000000000)",
        ),
        ({"corpus": {"type": "files", "paths": [""]}}, "corpus.paths.0: String should have at least 1 character (got '')"),
        (
            {"corpus": {"type": "files", "paths": ["a\0b"]}},
            "corpus.paths: has a character that no text file can store (NUL, or half of a surrogate pair) (got ['a\\x00b'])",
        ),
        ({"model": {**SERVED, "type": "vlm"}}, "model: there is no type 'vlm'; did you mean vllm?"),
        ({"model": {"type": "endpoint", "base_url": "http://localhost/v1"}}, "model.model: is missing"),
        (
            {"teachers": {"judge": {**SERVED, "modle": 1}}},
            "teachers.judge.modle: there is no such setting; did you mean model?",
        ),
        (
            {"training": {"type": "dpo", "lora": {"alhpa": 1}}},
            "training.lora.alhpa: there is no such setting; did you mean alpha?",
        ),
        ({"synthesis": 3}, "synthesis: must be a mapping, as in {name: value} (got 3)"),
        (
            {"teachers": {"judg": SERVED}},
            "teachers.judg: Input should be 'proposer', 'solver', 'rubric_writer' or 'judge' (got 'judg')",
        ),
        ({"synthesis": {"candidates": 1}}, "synthesis.candidates: Input should be greater than or equal to 2 (got 1)"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**GOOD, **changes})
    assert str(caught.value) == f"config is not a valid run config:\n  {line}"


def test_a_rule_about_several_settings_is_said_without_the_whole_config() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**GOOD, "rounds": 2})
    assert str(caught.value).splitlines()[1:] == [
        "  rounds above 1 need training: each round plays with the model trained in the one before"
    ]


def test_a_part_of_a_config_and_lists_of_parts_are_walked_too() -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter[Any](list[ModelConfig]).validate_python([SERVED, {**SERVED, "urls": 1}])
    (line,) = complaints(caught.value, list[ModelConfig])
    assert line.startswith("1.urls: there is no such setting")


@pytest.mark.parametrize("written", ["None", "sk-secret", ""])
def test_a_key_is_named_by_its_variable_and_a_key_itself_is_not_repeated(written: str) -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        parse_config({**GOOD, "model": {**SERVED, "api_key_env": written}})
    assert "sk-secret" not in str(caught.value)


def test_a_user_or_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        parse_config({**GOOD, "model": {**SERVED, "base_url": "http://user:hunter2@host/v1"}})
    assert "hunter2" not in str(caught.value)


def test_settings_without_a_type_are_of_the_default_type() -> None:
    config = parse_config(
        {**GOOD, "measure": {"documents": 10}, "training": {"batch_size": 8}, "model": {**SERVED, "weights": "m"}}
    )
    assert (config.measure, config.training) == (SelfJudgedMeasure(documents=10), DPOTraining(batch_size=8))
