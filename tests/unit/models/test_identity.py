"""Which settings of a model a stored call counts for."""

import pytest

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, VllmModel
from pop_selfplay.models.identity import settings_name

ENDPOINT = EndpointModel(base_url="http://server.test/v1", model="m")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ENDPOINT, "endpoint-436d881f2d9ec8bf"),
        (VllmModel(path="q", args=["--a"]), "vllm-195323eedef22d91"),
        (LocalModel(path="q"), "local-39dda3ef77d3c223"),
    ],
)
def test_calls_stored_before_there_were_more_settings_still_count(model: ModelConfig, name: str) -> None:
    assert settings_name(model) == name


def test_what_changes_the_text_counts_and_what_only_makes_the_server_answer_does_not() -> None:
    same = {"omit": ["seed"], "rename": {"max_tokens": "m"}, "max_reply_mb": 4}
    assert settings_name(ENDPOINT.model_copy(update=same)) == settings_name(ENDPOINT)
    assert settings_name(ENDPOINT.model_copy(update={"extra_body": {"top_k": 4}})) != settings_name(ENDPOINT)
