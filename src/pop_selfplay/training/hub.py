"""Upload a finished model to the Hugging Face hub. Never run against the real hub here, only against a stand-in of its API."""

import logging
from pathlib import Path
from typing import Any, Final, Protocol

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

_LOG: Final = logging.getLogger(__name__)


class Hub(Protocol):
    """The part of `huggingface_hub.HfApi` that is used."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository, or take the one that is there as it is."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        """Upload every file of a folder as one commit."""


def push(model: Path, repository: str, hub: Hub | None = None) -> bool:
    """Upload the model directory as one commit to `repository` (owner/name), made private when it is new.

    Returns whether it is there. A hub that cannot be reached, or that refuses, is no reason to lose a finished model: a warning
    says so, with the command that does it by hand. `hub` stands in for the real one in tests.
    """
    hub = hub or HfApi()
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=model, commit_message=f"Upload {model.name}, trained with pop")
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        _LOG.warning(
            "%s is finished, but could not be uploaded to %s: %s. Do it by hand: hf upload %s %s", model, repository, error,
            repository, model,
        )  # fmt: skip
        return False
    return True
