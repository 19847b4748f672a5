"""The gates: met by the shipped weights, and missed by a model that cannot play."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.learning import Margins, shifted
from tools.pocket import check as checking
from tools.pocket.check import CHECK_SEED, check, check_and_print, main
from tools.pocket.generate import load_generator

from pop_selfplay.errors import GateFailed, ModelRefused
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.records import Message


def nonsense(conversations: Sequence[tuple[Message, ...]], temperature: float, max_tokens: int, seed: int) -> list[str]:
    return ["nonsense"] * len(conversations)


def test_a_model_that_writes_nonsense_misses_every_gate() -> None:
    gates = check(nonsense, cases=10)
    assert not any(gate.passed for gate in gates)


def test_a_missed_gate_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "load_generator", lambda _: nonsense)
    with pytest.raises(GateFailed, match="proposals well-formed"):
        check_and_print(POCKET_WEIGHTS, cases=5)


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"no config\.json"):
        check_and_print(tmp_path / "nowhere")
    (tmp_path / "config.json").write_bytes((POCKET_WEIGHTS / "config.json").read_bytes())
    with pytest.raises(ModelRefused, match="cannot load a model"):
        check_and_print(tmp_path)


def test_the_command_says_what_is_wrong_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "load_generator", lambda _: nonsense)
    monkeypatch.setattr(sys, "argv", ["check", "--cases", "5"])
    with pytest.raises(SystemExit, match=r"GateFailed: the pocket model misses .* gates: proposals well-formed"):
        main()


@pytest.mark.slow
@pytest.mark.learning
def test_the_shipped_weights_pass_every_gate(margins: Margins) -> None:
    gates = check(load_generator(POCKET_WEIGHTS), cases=300, seed=shifted(CHECK_SEED))
    for gate in gates:
        margins.above(f"room of {gate.name}", gate.value - gate.low, 0)
        if gate.high < 1:
            margins.above(f"room above {gate.name}", gate.high - gate.value, 0)
    assert [f"{gate.name}: {gate.value:.3f} of {gate.n}" for gate in gates if not gate.passed] == []
    assert min(gate.n for gate in gates) >= 300
