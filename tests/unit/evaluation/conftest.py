"""inspect_ai would first import all of inspect_evals to look for plug-ins; the tests only need the tasks they name."""

import pytest
from inspect_ai._util import entrypoints


@pytest.fixture(autouse=True)
def no_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrypoints, "_inspect_ai_eps_loaded_all", True)
