"""What tests of whole runs share as fixtures; what they share as functions is in `runs.py`."""

from collections import Counter

import pytest

from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the calls that reach the model, by role; clear it to begin anew."""
    counts: Counter[str] = Counter()
    complete = SimulatedChatModel.complete

    async def counting(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        counts[request.role.value] += 1
        return await complete(self, request)

    monkeypatch.setattr(SimulatedChatModel, "complete", counting)
    return counts
