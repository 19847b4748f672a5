"""Against a real vLLM: started, asked, killed in the middle, asked again, stopped; what was trained is served.

`make test-real` runs this where the environment says what to run it with:

    POP_REAL_MODEL   a model directory (a small one will do)
    POP_REAL_VLLM    the `vllm` executable
    POP_REAL_ARGS    further arguments of `vllm serve`, separated by blanks
    POP_REAL_ENV     environment variables of the server, NAME=VALUE, separated by blanks

docs/models.md says what a machine without GPUs needs.
"""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.config import VllmModel
from pop_selfplay.method.parsing import Rejection, answer_form, parse_answer
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.vllm_server import VllmChatModel
from pop_selfplay.records import Role
from tests.integration.models.test_vllm_server import gone, group_of
from tests.unit.models.makers import make_request

MODEL, EXECUTABLE = os.environ.get("POP_REAL_MODEL", ""), os.environ.get("POP_REAL_VLLM", "")
pytestmark = [
    pytest.mark.real,
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # PEFT's
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not (MODEL and EXECUTABLE), reason="POP_REAL_MODEL and POP_REAL_VLLM name no model and no vLLM"),
]


def settings(path: str) -> VllmModel:
    return VllmModel.model_validate(
        {
            "path": path,
            "executable": EXECUTABLE,
            "args": shlex.split(os.environ.get("POP_REAL_ARGS", "")),
            "env": dict(pair.split("=", 1) for pair in shlex.split(os.environ.get("POP_REAL_ENV", ""))),
            "patience_s": 1800,
            "max_in_flight": 8,
        }
    )


def asked(seed: int, max_tokens: int = 24, **more: Any) -> ChatRequest:
    return make_request("Name three trees.", seed=seed, max_tokens=max_tokens, **more)


@contextlib.asynccontextmanager
async def served(path: str, folder: Path, told: list[str]) -> AsyncIterator[VllmChatModel]:
    model = VllmChatModel(settings(path), name="m", notice=told.append, folder=folder)
    try:
        yield model
    finally:
        await model.close()


def engine_of(folder: Path) -> int:
    """Return the server's process, the one of the group that is not our watchdog."""
    told = json.loads((folder / "m.json").read_text(encoding="utf-8"))
    return max(int(pid) for pid, _ in told["processes"])


def test_a_real_server_starts_answers_survives_a_kill_and_stops(tmp_path: Path) -> None:
    told = list[str]()

    async def run() -> int:
        async with served(MODEL, tmp_path, told) as model:
            began = time.monotonic()
            first = await asyncio.gather(*(model.complete(asked(seed)) for seed in range(4)))
            sys.stdout.write(f"ready and answered after {time.monotonic() - began:.0f} s" + "\n")
            assert all(one.text and one.generated_tokens and one.prompt_tokens for one in first)
            assert len({one.text for one in first}) > 1

            several = await model.complete_many([asked(seed) for seed in range(3)])
            assert several is None or len({one.text for one in several}) > 1

            assert await model.constrains(Role.SOLVER)
            form = answer_form(boxed=False)
            formed = await model.complete(ChatRequest(Role.SOLVER, asked(1).messages, 1.0, 1.0, 200, 1, "</answer>", form=form))
            read = parse_answer(formed.text)
            assert formed.finish_reason == "length" or not isinstance(read, Rejection), formed.text

            group, killed = group_of(tmp_path), time.monotonic()
            going = [asyncio.create_task(model.complete(asked(seed, 120))) for seed in range(10, 14)]
            await asyncio.sleep(3)
            os.kill(engine_of(tmp_path), signal.SIGKILL)
            again = await asyncio.gather(*going)
            sys.stdout.write(f"answered {time.monotonic() - killed:.0f} s after the kill" + "\n")
            assert all(one.text for one in again)
            assert any("restarting it" in notice for notice in told), told
            assert gone(group)
            return group_of(tmp_path)

    assert gone(asyncio.run(run()))


def test_what_a_merge_of_lora_matrices_leaves_is_served(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pop_selfplay.training.export import merge_adapter
    from pop_selfplay.training.loading import load_model_config

    adapter, merged = tmp_path / "adapter", tmp_path / "round-1"
    start = AutoModelForCausalLM.from_pretrained(MODEL, dtype="auto")
    get_peft_model(start, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")).save_pretrained(adapter)
    merge_adapter(MODEL, adapter, merged, load_model_config(MODEL, {}).dtype, {}, keep=False)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(merged)

    async def run() -> None:
        async with served(str(merged), tmp_path / "servers", []) as model:
            began = time.monotonic()
            assert (await model.complete(asked(0))).text
            sys.stdout.write(f"the trained model answered after {time.monotonic() - began:.0f} s" + "\n")

    asyncio.run(run())
