"""pop doctor says what is here, what size trains, and whether a model and a config will work, with what to do where not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from pop_selfplay import doctor
from pop_selfplay.cli import run
from pop_selfplay.config import SimulatedModel
from pop_selfplay.doctor import GIB, Check, Gpu, billions, look_at
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app

GPUS = [Gpu("NVIDIA H100 80GB HBM3", 80 * GIB), Gpu("NVIDIA H100 80GB HBM3", 80 * GIB)]


@pytest.fixture(autouse=True)
def without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_gpus", list)


def written(tmp_path: Path, **config: Any) -> str:
    path = tmp_path / "c.yaml"
    whole = {"domain": "health_care", "corpus": {"type": "pocket"}, "filter": {"min_words": 5}, **config}
    path.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return str(path)


def found(what: str | None, name: str) -> Check:
    return next(check for check in look_at(what).checks if check.name == name)


def test_the_installation_and_the_machine_are_looked_at_and_nothing_is_wrong_with_them() -> None:
    diagnosis = look_at()
    assert {check.group for check in diagnosis.checks} == {"software", "machine"} and diagnosis.problems == []
    assert {check.status for check in diagnosis.checks if check.name.startswith("extra")} == {"ok"}


def test_a_missing_extra_is_no_problem_and_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "absent", lambda extra: ["inspect_ai"] if extra == "eval" else [])
    check = found(None, "extra eval")
    assert (check.status, check.advice) == ("note", "pip install 'pop-selfplay[eval]'")


def test_what_size_trains_here_is_computed_from_the_memory_and_said_with_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory", lambda: 24 * GIB)
    assert "all weights in fp32: up to 1.1B (16 bytes a weight)" in found(None, "training").found
    monkeypatch.setattr(doctor, "find_gpus", lambda: GPUS)
    monkeypatch.setattr(doctor, "_version", lambda module: "2.13.0")
    said = found(None, "training").found
    assert (
        "68 GiB beside 6 GiB for activations: all weights in bf16: up to 5.2B (14 bytes a weight); lora: {}: up to 33.0B"
        in said
    )
    assert "over 2 GPUs with FSDP2: up to 9.1B" in said
    assert billions(490e6) == "490M"


def test_a_torch_for_cpus_beside_a_gpu_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_gpus", lambda: GPUS)
    monkeypatch.setattr(doctor, "_version", lambda module: "2.13.0+cpu")
    assert look_at().problems == ["gpus"]


def test_a_served_model_is_asked_for_and_what_the_config_needs_of_it_is_told_from_what_it_may_lack(tmp_path: Path) -> None:
    model = SimulatedChatModel(SimulatedModel(), name="m")
    with serving(simulated_app(model)) as address:
        served = {"type": "endpoint", "base_url": address, "model": "m"}
        config = written(tmp_path, model=served, training={"type": "none"}, synthesis={"scoring": "logprob"})
        checks = {check.name: check for check in look_at(config).checks}
        assert checks["all roles"].found == f"{address} serves m" and checks["context"].status == "note"
        assert {checks[f"all roles: {name}"].status for name in ("answer", "n", "logprobs")} == {"ok"}
        assert checks["corpus"].found.startswith("300 documents for 1 round, 0 held out")
        assert look_at(f"{address}#other").problems == [f"{address}#other"]


def test_an_ability_that_the_config_needs_is_a_problem_where_it_is_missing(tmp_path: Path) -> None:
    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m", "max_model_len": 2048}]})

    async def complete(_: web.Request) -> web.Response:
        return web.json_response({"choices": [{"message": {"content": "red"}}]})

    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", complete)])
    with serving(app) as address:
        served = {"type": "endpoint", "base_url": address, "model": "m"}
        config = written(tmp_path, model=served, training={"type": "none"}, synthesis={"scoring": "logprob"})
        diagnosis = look_at(config)
        assert diagnosis.problems == ["all roles: logprobs"]
        context = next(check for check in diagnosis.checks if check.name == "context")
        assert (context.status, context.found) == ("warning", "2048 tokens, answers may have 8192")
        assert look_at(f"{address}#m").problems == [], "nothing is known to need it"


def test_a_server_that_is_away_and_a_corpus_that_is_not_there_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served = {"type": "endpoint", "base_url": "http://localhost:1/v1", "model": "m"}
    config = written(tmp_path, model=served, training={"type": "none"}, corpus={"paths": ["nowhere/"], "type": "files"})
    assert run(["doctor", config]) == 3
    said = capsys.readouterr()
    assert said.err == "pop: GateFailed: 2 problems: all roles, corpus\n"
    assert "no answer from http://localhost:1/v1/models" in said.out and "nowhere" in said.out


def test_weights_are_measured_by_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory", lambda: 24 * GIB)
    folder = tmp_path / "weights"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(4_000_000_000)  # a sparse file: it takes no room
    (folder / "config.json").write_text('{"dtype": "bfloat16"}', encoding="utf-8")
    assert (
        found(str(folder), str(folder)).found
        == "2.0B weights, no chat template: the default one is used; trains here with lora: {}"
    )
    (folder / "config.json").write_text('{"dtype": "float32"}', encoding="utf-8")
    assert "1.0B weights" in found(str(folder), str(folder)).found
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(40_000_000_000)
    too_large = found(str(folder), str(folder))
    assert too_large.status == "warning" and too_large.advice == "it needs 41 GiB at the least, and 16 are there"


def test_vllm_must_be_there_and_have_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_gpus", lambda: GPUS)
    vllm = {"type": "vllm", "path": "org/name", "executable": "no-such-vllm"}
    assert found(written(tmp_path, model=vllm), "vllm").found == "there is no command 'no-such-vllm'"
    assert found(written(tmp_path, model={**vllm, "executable": "sh", "tensor_parallel": 4}), "vllm").status == "problem"
    assert found(written(tmp_path, model={**vllm, "executable": "sh", "tensor_parallel": 2}), "vllm").status == "ok"
    absent = found(written(tmp_path, model={**vllm, "executable": "sh", "gpus": [0, 7]}), "vllm")
    assert (absent.status, absent.found) == ("problem", "there is no GPU 7")
    monkeypatch.setattr(doctor, "find_gpus", list)  # vLLM's build for CPUs, and other makers' GPUs
    assert found(written(tmp_path, model={**vllm, "executable": "sh"}), "vllm").status == "note"


def test_the_pocket_model_is_warned_of_where_the_prompts_are_not_its_own(tmp_path: Path) -> None:
    check = found(written(tmp_path, model={"type": "pocket"}), "all roles")
    assert check.status == "warning" and "not those of health_care" in check.found
    assert found(written(tmp_path, model={"type": "pocket"}, domain="pocket"), "all roles").status == "ok"


def test_the_checks_are_also_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "pocket", "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert checks[-1] == {
        "group": "model",
        "name": "pocket",
        "status": "ok",
        "found": "pocket, shipped with this package",
        "advice": "",
    }
