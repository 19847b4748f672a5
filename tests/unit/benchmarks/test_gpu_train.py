"""The GPU benchmark: its arithmetic, and that it runs where there is no GPU."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.forked import Forking
from transformers import Qwen2Config, Qwen2ForCausalLM

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu_train.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_train", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_weights_that_are_counted_are_those_of_the_model(script: ModuleType) -> None:
    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**script.QWEN))
    size = script.Size.of(script.QWEN)
    embedding = model.get_input_embeddings().weight.numel()
    assert size.body + size.head + embedding == pytest.approx(model.num_parameters(), rel=1e-4)
    assert model.num_parameters() == 7_615_616_512, "Qwen2.5-7B"


def test_a_pass_is_six_operations_per_weight_and_token_and_attention_grows_with_the_square(script: ModuleType) -> None:
    size = script.Size(body=1000, head=100, layers=2, width=8)
    assert script.operations(size, 10, 4, frozen=False) == 6 * (1000 * 10 + 100 * 4) + 6 * 10**2 * 8 * 2
    assert script.operations(size, 10, 4, frozen=True) == 4 * (1000 * 10 + 100 * 4) + 6 * 10**2 * 8 * 2


def test_attention_counts_as_the_products_of_a_triangle(script: ModuleType) -> None:
    """Two products over the pairs of tokens that see each other, forward once and backward twice."""
    tokens, heads, head_size = 64, 3, 5
    seen = sum(place + 1 for place in range(tokens))
    exact = 3 * 2 * (2 * seen * heads * head_size)
    only_attention = script.Size(body=0, head=0, layers=1, width=heads * head_size)
    assert script.operations(only_attention, tokens, 0, frozen=False) == pytest.approx(exact, rel=1 / tokens)


def test_utilisation_is_the_share_of_the_peak(script: ModuleType) -> None:
    assert script.utilisation(done=989e12, seconds=2.0, peak_tflops=989) == 0.5


@pytest.mark.parametrize(("name", "peak"), [("NVIDIA H100 80GB HBM3", 989), ("NVIDIA H200", 989), ("NVIDIA H100 PCIe", 756)])
def test_the_peak_is_that_of_the_card(script: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, peak: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: name)
    assert script.peak_tflops() == peak


def test_ways_are_compared_at_the_same_length(script: ModuleType) -> None:
    def run(way: str, length: int, tokens: float) -> dict[str, Any]:
        return {"way": way, "length": length, "tokens_per_second": tokens}

    runs = [run("full", 1, 50), run("reference", 1, 10), run("full", 2, 70), {"way": "reference", "length": 2, "failed": []}]
    assert script.against_reference(runs) == {"full at 1": 5.0}


AS_A_SCRIPT = "import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')"
"""The code of `python FILE …`, for a process that has imported what is slow to import."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_runs_without_a_gpu_and_says_what_its_figures_are_worth(tmp_path: Path, forked: Forking) -> None:
    arguments = ("--ways", "full", "--lengths", "24", "--steps", "1", "--json", tmp_path / "report.json")
    done = forked.run(AS_A_SCRIPT, SCRIPT, *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (run,) = report["runs"]
    assert run["way"] == "full" and run["tokens_per_second"] > 0 and "failed" not in run
    if report["machine"]["gpu"] is None:
        assert "only to show that this script works" in report["machine"]["note"]


@pytest.mark.parametrize("way", ["lora", "reference"])
def test_every_other_way_runs_in_its_process(script: ModuleType, way: str, tmp_path: Path, forked: Forking) -> None:
    assert way in script.WAYS
    script.make_start(tmp_path / "start")
    environment = script.environment_of(way)
    done = forked.run(AS_A_SCRIPT, SCRIPT, *script.arguments_of(way, 24, tmp_path / "start", 1), environment=environment)
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout.splitlines()[-1])
    assert run["way"] == way and run["tokens_per_second"] > 0
