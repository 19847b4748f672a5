"""Addresses, proxies and keys, checked before anything is sent."""

import pytest
from pydantic import ValidationError

from pop_selfplay.config import EndpointModel
from pop_selfplay.errors import ModelRefused
from pop_selfplay.models.endpoint.dialects import OPENAI
from pop_selfplay.models.endpoint.wire import url_of


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_query_stays_behind_the_path() -> None:
    azure = "https://x.openai.azure.com/openai/deployments/gpt-4o/?api-version=2024-02-01"
    assert url_of(azure, "/chat/completions") == (
        "https://x.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-02-01"
    )


def test_a_fragment_is_no_part_of_an_address() -> None:
    with pytest.raises(ModelRefused, match="base_url"):
        url_of("http://server.test/v1#x", "/chat/completions")


@pytest.mark.parametrize("proxy", ["127.0.0.1:3128", "socks5://127.0.0.1:1080", "http://127.0.0.1:port", "http://"])
def test_a_proxy_that_cannot_be_used_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ModelRefused, match="environment variable http_proxy"):
        url_of("http://server.test/v1", "/chat/completions")
    monkeypatch.setenv("no_proxy", "server.test")
    url_of("http://server.test/v1", "/chat/completions")


def test_a_proxys_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://me:hunter2@127.0.0.1:1080")
    with pytest.raises(ModelRefused) as caught:
        url_of("http://server.test/v1", "/chat/completions")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-abc\nsk-def", "sk-\u00e9", "sk\x00"])
def test_a_key_that_cannot_be_sent_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    if "\x00" in key:
        key = "sk\x01"
    monkeypatch.setenv("KEY", key)
    with pytest.raises(ModelRefused, match="KEY") as caught:
        OPENAI.headers(EndpointModel(base_url="http://server.test/v1", model="m", api_key_env="KEY"))
    assert "sk" not in str(caught.value)


def test_azure_gets_the_key_under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "abc")
    azure = EndpointModel(base_url="https://x.openai.azure.com/openai/v1", model="m", api_key_env="KEY")
    assert OPENAI.headers(azure)["api-key"] == "abc"


def test_credentials_in_an_address_are_refused() -> None:
    with pytest.raises(ValidationError, match="api_key_env"):
        EndpointModel(base_url="http://user:hunter2@server.test/v1", model="m")
