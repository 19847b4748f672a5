"""torch is the build for CPUs where there is no GPU, on the public index as on a mirror, unless somebody says otherwise."""

import subprocess
from typing import Any

import pytest
from tools import install_torch
from tools.install_torch import CPU_INDEX, chosen_index, reachable


@pytest.fixture(autouse=True)
def linux_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(install_torch, "reachable", lambda _: True)


def test_linux_without_a_gpu_takes_the_build_for_cpus() -> None:
    assert chosen_index()[0] == CPU_INDEX


@pytest.mark.parametrize("named", ["", "https://torch.example/simple"])
def test_whoever_names_an_index_gets_that_one_and_the_empty_name_is_pips_own(
    named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_INDEX", named)
    assert chosen_index()[0] == named


def test_a_gpu_another_system_or_a_machine_with_a_mirror_alone_takes_what_pip_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/nvidia-smi")
    assert chosen_index() == ("", "there is an NVIDIA GPU here")
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    assert chosen_index()[0] == ""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr(install_torch, "reachable", lambda _: False)
    index, why = chosen_index()
    assert index == "" and "cannot be reached" in why and "CUDA" in why


def test_an_index_that_does_not_answer_is_not_reachable() -> None:
    assert not reachable("http://127.0.0.1:9") and not reachable("no address")


def run_with(monkeypatch: pytest.MonkeyPatch, *codes: int) -> list[list[str]]:
    """Let pip leave with `codes`, one after the other, and return the list that its commands go to."""
    commands: list[list[str]] = []
    left = iter(codes)

    def run(command: list[str], **_: Any) -> Any:
        commands.append(command)
        return subprocess.CompletedProcess(command, next(left))

    monkeypatch.setattr("subprocess.run", run)
    return commands


def test_from_the_index_for_cpus_comes_torch_alone_at_the_tested_version(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = run_with(monkeypatch, 0)
    assert install_torch.main() == 0
    (command,) = commands
    assert command[command.index("--index-url") + 1] == CPU_INDEX and "--no-deps" in command
    assert command[command.index("--constraint") + 1].endswith("constraints.txt")


def test_where_that_index_has_no_build_pips_own_is_asked_but_not_where_somebody_named_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands = run_with(monkeypatch, 1, 0)
    assert install_torch.main() == 0 and "--index-url" not in commands[1]
    commands = run_with(monkeypatch, 1)
    monkeypatch.setenv("TORCH_INDEX", CPU_INDEX)
    assert install_torch.main() == 1 and len(commands) == 1
