"""A vLLM server of our own, on an executable that stands in for vLLM: started, told of, and never left behind."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.faults import count_calls, start_pop
from tests.integration.models.stand_in import write_stand_in
from tests.integration.runs import simulated_config, write_texts
from tests.unit.models.makers import make_request

from pop_selfplay.config import RunConfig, SimulatedModel, VllmModel, dump_config
from pop_selfplay.errors import ModelRefused, ModelUnavailable
from pop_selfplay.models import open_model
from pop_selfplay.models.identity import weights_of
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from pop_selfplay.models.vllm_server import VllmChatModel
from pop_selfplay.models.vllm_server.process import end_leftover
from pop_selfplay.models.vllm_server.watchdog import in_group, started_at
from pop_selfplay.runs.session import open_session

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="leftovers are told apart by /proc")
REQUESTS = [make_request(system="Write <answer>.", seed=seed, stop="</answer>") for seed in range(8)]


def settings(folder: Path, path: str = "some/model", *args: str, patience_s: float = 60, **more: object) -> VllmModel:
    executable = write_stand_in(folder)
    return VllmModel.model_validate(
        {"path": path, "executable": str(executable), "args": list(args), "patience_s": patience_s, **more}
    )


def group_of(folder: Path, name: str = "m") -> int:
    return int(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["group"])


def gone(group: int, within_s: float = 20) -> bool:
    """Tell whether no process of the group is left that could do anything."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not in_group(group):
            return True
        time.sleep(0.05)
    return False


def test_it_serves_under_our_name_with_its_log_in_the_folder_and_is_gone_after_closing(tmp_path: Path) -> None:
    async def run() -> int:
        model = open_model(settings(tmp_path, gpus=[1, 3], env={"VLLM_SETTING": "cpu"}), name="m", folder=tmp_path / "servers")
        found = await asyncio.gather(*map(model.complete, REQUESTS))
        assert all(re.search("<answer>", completion.text) for completion in found)
        group = group_of(tmp_path / "servers")
        await model.close()
        await model.close()
        return group

    assert gone(asyncio.run(run()), within_s=1)
    assert "loading some/model on 1,3 cpu" in (tmp_path / "servers" / "m.log").read_text(encoding="utf-8")
    assert not (tmp_path / "servers" / "m.json").exists()


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pop_selfplay.models.vllm_server.process._STOP_S", 1.0)

    async def run() -> int:
        model = open_model(settings(tmp_path, "some/model", "--deaf"), name="m", folder=tmp_path)
        await model.complete(REQUESTS[0])
        group = group_of(tmp_path)
        await model.close()
        return group

    assert gone(asyncio.run(run()), within_s=5)


def test_one_that_dies_at_the_start_is_refused_with_the_end_of_its_log(tmp_path: Path) -> None:
    async def run() -> None:
        model = open_model(settings(tmp_path, "missing/model"), name="m", folder=tmp_path)
        with pytest.raises(ModelRefused, match=r"(?s)ended with code 1 before.*no such model: missing/model"):
            await model.complete(REQUESTS[0])
        await model.close()

    asyncio.run(run())


def test_an_executable_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"model.executable '/nowhere/vllm'"):
        open_model(VllmModel(path="m", executable="/nowhere/vllm"), folder=tmp_path)


def test_one_that_dies_in_the_middle_is_started_again_and_no_call_is_lost(tmp_path: Path) -> None:
    notices: list[str] = []

    async def run() -> None:
        model = VllmChatModel(settings(tmp_path), name="m", notice=notices.append, folder=tmp_path)
        before = await asyncio.gather(*map(model.complete, REQUESTS))
        os.killpg(group_of(tmp_path), signal.SIGKILL)
        assert await asyncio.gather(*map(model.complete, REQUESTS)) == before
        await model.close()

    asyncio.run(run())
    assert sum("restarting it" in notice for notice in notices) == 1


def test_one_that_dies_without_an_answer_ends_the_run_resumable(tmp_path: Path) -> None:
    async def run() -> None:
        model = open_model(settings(tmp_path, "some/model", "--crash-after", "0"), name="m", folder=tmp_path)
        with pytest.raises(ModelUnavailable, match="ended with code 70 without an answer"):
            await model.complete(REQUESTS[0])
        await model.close()

    asyncio.run(run())


def test_servers_that_share_a_gpu_take_turns(tmp_path: Path) -> None:
    async def run() -> None:
        first, second = (open_model(settings(tmp_path), name=name, folder=tmp_path) for name in ("first", "second"))
        await asyncio.gather(*map(first.complete, REQUESTS), *map(second.complete, REQUESTS))
        assert not (tmp_path / "first.json").exists() and (tmp_path / "second.json").exists()
        await first.close()
        await second.close()

    asyncio.run(run())


def vllm_run(tmp_path: Path) -> Path:
    """Write the config of a run on the stand-in and return its path."""
    config = simulated_config(write_texts(tmp_path / "texts", 20)).model_dump()
    config["model"] = settings(tmp_path).model_dump()
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(RunConfig.model_validate(config)), encoding="utf-8")
    return path


def test_when_we_are_killed_the_server_goes_too_and_a_run_goes_on(tmp_path: Path) -> None:
    config, run = vllm_run(tmp_path), tmp_path / "run"
    process = start_pop("run", config, "--out", run)
    while count_calls(run) < 20:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    (state,) = (run / "servers").glob("*.json")
    group = int(json.loads(state.read_text(encoding="utf-8"))["group"])
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert gone(group)
    again = start_pop("run", run)
    _, said = again.communicate()
    assert again.returncode == 0, said
    assert not list((run / "servers").glob("*.json"))


def test_the_policy_of_a_later_round_is_served_like_the_first_one(tmp_path: Path) -> None:
    model = settings(tmp_path, gpus=[2])
    config = simulated_config(tmp_path).model_dump() | {"model": model.model_dump(), "training": {"type": "dpo"}, "rounds": 2}
    with open_session(tmp_path / "run", RunConfig.model_validate(config)) as session:
        trained = str(tmp_path / "run" / "models" / "round-1")
        assert session.casting.policy(2) == model.model_copy(update={"path": trained})
        assert weights_of(session.casting.policy(1)) == "some/model" and weights_of(session.casting.policy(2)) == trained


def test_a_leftover_is_ended_by_its_number_group_and_start_and_a_stranger_is_not(tmp_path: Path) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours, stranger = (subprocess.Popen(sleeper, start_new_session=True) for _ in range(2))
    state = tmp_path / "m.json"
    try:
        for process, began in ((stranger, "another boot 17"), (ours, started_at(ours.pid))):
            state.write_text(json.dumps({"group": process.pid, "processes": [[process.pid, began]]}), encoding="utf-8")
            end_leftover(state)
            assert not state.exists()
        assert ours.wait(10) == -signal.SIGTERM and stranger.poll() is None
        state.write_text('{"group": 1', encoding="utf-8")
        end_leftover(state)
        assert not state.exists()
    finally:
        for process in (ours, stranger):
            process.kill()
            process.wait()


def test_a_foreign_server_is_left_alone(tmp_path: Path) -> None:
    foreign = SimulatedChatModel(SimulatedModel(), name="foreign")
    with serving(simulated_app(foreign)) as base_url:

        async def run() -> None:
            model = VllmChatModel(settings(tmp_path), name="m", folder=tmp_path)
            assert str(model._process.port) not in base_url
            await model.complete(REQUESTS[0])
            await model.close()

        asyncio.run(run())
        other = open_model(SimulatedModel())
        assert asyncio.run(other.complete(REQUESTS[0])).text
