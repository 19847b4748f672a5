"""Uploading to the hub, against a stand-in: what it is asked for, and what happens when it refuses."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from pop_selfplay.training.export import push


class FakeHub:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, "private": private, "exist_ok": exist_ok}))

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> None:
        if self.error:
            raise self.error
        self.calls.append(("upload_folder", {"repo_id": repo_id, "folder_path": folder_path, "commit_message": commit_message}))


def test_a_model_goes_as_one_commit_to_a_private_repository(tmp_path: Path) -> None:
    hub = FakeHub()
    assert push(tmp_path / "round-1", "me/health", hub)
    assert hub.calls == [
        ("create_repo", {"repo_id": "me/health", "private": True, "exist_ok": True}),
        (
            "upload_folder",
            {
                "repo_id": "me/health",
                "folder_path": tmp_path / "round-1",
                "commit_message": "Upload round-1, trained with pop",
            },
        ),
    ]


@pytest.mark.parametrize(
    "error",
    [
        OSError("no route to host"),
        httpx2.ConnectError("[Errno 111] Connection refused"),
        httpx2.ReadTimeout("timed out"),
        HfHubHTTPError("403 Forbidden", response=httpx2.Response(403, request=httpx2.Request("POST", "http://hub"))),
    ],
    ids=["no network", "unreachable", "slow", "refused"],
)
def test_a_hub_that_fails_loses_no_model_and_is_told(tmp_path: Path, logged: list[str], error: Exception) -> None:
    assert not push(tmp_path / "round-1", "me/health", FakeHub(error))
    (told,) = logged
    assert f"hf upload me/health {tmp_path / 'round-1'}" in told and str(error) in told
