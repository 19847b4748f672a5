"""The files for clusters and other people's trainers are whole, in the syntax of their readers, with options that there are."""

import asyncio
import importlib.util
import itertools
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

import pop_selfplay as pop
from pop_selfplay.cli import app
from pop_selfplay.config import RayRunner, SimulatedModel
from pop_selfplay.domains import load_domain
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from tests.integration.runs import simulated_config, write_texts

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "configs" / "cluster"
SCRIPTS = [*sorted(CLUSTER.glob("*.sbatch")), ROOT / "examples" / "verl" / "train.sh"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_in_the_syntax_of_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True, timeout=60)


@pytest.mark.parametrize("path", sorted(CLUSTER.glob("*.sbatch")), ids=lambda path: path.name)
def test_a_slurm_script_asks_before_it_does_anything(path: Path) -> None:
    first, *lines = path.read_text(encoding="utf-8").splitlines()
    commands = [number for number, line in enumerate(lines) if line and not line.startswith("#")]
    options = [number for number, line in enumerate(lines) if line.startswith("#SBATCH ")]
    assert first == "#!/bin/bash" and options and max(options) < min(commands), "sbatch reads no option behind a command"
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", lines[number]) for number in options)


def texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for part in node.values() if isinstance(node, dict) else node:
            yield from texts(part)


@pytest.mark.parametrize("path", sorted(CLUSTER.iterdir()), ids=lambda path: path.name)
def test_every_command_of_ours_has_its_options(path: Path) -> None:
    raw = path.read_text(encoding="utf-8")
    parts = texts(yaml.safe_load(raw)) if path.suffix == ".yaml" else [raw]
    lines = [found for text in parts for found in re.findall(r"\bpop (?:run|synth) .*", text.replace("\\\n", " "))]
    assert lines
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    for line in lines:
        words = shlex.split(re.sub(r"\|\| .*|&$", "", re.sub(r"\$\(\(.*?\)\)", "8", line)))
        known = {option for parameter in commands[words[1]].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
        settings = [word.partition("=")[0] for before, word in itertools.pairwise(words) if before == "--set"]
        ours = [name.removeprefix("runner.") for name in settings if name.startswith("runner.")]
        assert set(ours) <= RayRunner.model_fields.keys()


def test_the_kuberay_file_is_a_job_whose_machines_fit_the_run() -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    assert f"runner.workers={group['replicas']} " in job["spec"]["entrypoint"]
    assert (
        worker["resources"]["limits"]["nvidia.com/gpu"] == "1" and cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    )
    mounted = {mount["name"] for mount in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in cluster["headGroupSpec"]["template"]["spec"]["volumes"]}


def test_the_skypilot_file_is_a_task() -> None:
    task = yaml.safe_load((CLUSTER / "skypilot.yaml").read_text(encoding="utf-8"))
    assert task.keys() == {"name", "resources", "envs", "file_mounts", "workdir", "setup", "run"}
    for script in (task["setup"], task["run"]):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True, timeout=60)


# --- other people's trainers ------------------------------------------------------------------------------------------


def module_at(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUBRIC = json.dumps({"criteria": [{"name": "a", "description": "names a number", "weight": 1.0, "gold": "seven"}]})


def test_verl_s_reward_is_the_rubric_s(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_domain("health_care").name == "health_care"
    hook = module_at(ROOT / "examples" / "verl" / "pop_reward.py")
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as judge:
        monkeypatch.setenv("POP_JUDGE", judge)
        extra = {"problem": "How many?", "problem_id": "1/a/0"}
        score = asyncio.run(hook.compute_score("pop/health_care", "<answer>It is seven.</answer>", RUBRIC, extra))
        hook.reward("health_care").close()
    assert score["judge_failed"] == 0 and score["score"] in (0, 1, 2)


class Letters:
    """A tokenizer whose tokens are characters."""

    def apply_chat_template(self, messages: list[dict[str, str]], **settings: Any) -> list[int]:
        return [ord(letter) for message in messages for letter in message["content"]]

    def decode(self, ids: Any, **settings: Any) -> str:
        return "".join(map(chr, map(int, ids)))


@pytest.mark.filterwarnings("ignore")  # verl's own
def test_verl_reads_the_export_and_its_reward_manager_takes_the_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a run to a reward through verl's own code: its dataset, its loader of a reward function and its reward manager."""
    pytest.importorskip("verl", reason="needs verl")
    import torch
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    pop.run(simulated_config(write_texts(tmp_path / "texts", 5), documents=4), tmp_path / "run")
    count = pop.export(tmp_path / "run", tmp_path / "problems.parquet", "verl")
    settings = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "max_prompt_length": 100_000})
    dataset = RLHFDataset(str(tmp_path / "problems.parquet"), Letters(), settings)
    assert len(dataset) == count >= 2 and dataset[0]["raw_prompt"][-1]["role"] == "user"

    hook = {"path": str(ROOT / "examples" / "verl" / "pop_reward.py"), "name": "compute_score", "reward_kwargs": {}}
    manager = {"source": "register", "name": "naive"}
    reward = load_reward_manager(
        OmegaConf.create({"reward": {"custom_reward_function": hook, "reward_manager": manager}}), Letters()
    )
    answer = torch.tensor([[ord(letter) for letter in "<answer>It is seven.</answer>"]])
    batch = {"responses": answer, "attention_mask": torch.ones_like(answer)}
    rows = collate_fn([dataset[0]])
    columns = {name: rows[name] for name in ("data_source", "reward_model", "extra_info")}
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as judge:
        monkeypatch.setenv("POP_JUDGE", judge)
        found = reward.loop.run_until_complete(reward.run_single(DataProto.from_dict(tensors=batch, non_tensors=columns)))
        reward.compute_score.args[0].__globals__["reward"]("health_care").close()
    assert found["reward_extra_info"]["judge_failed"] == 0 and 0 <= found["reward_score"] <= 2


def test_verl_knows_every_setting_of_the_recipe() -> None:
    verl = importlib.util.find_spec("verl")
    if verl is None or verl.origin is None:
        pytest.skip("verl is not installed")
    config = yaml.safe_load(
        (Path(verl.origin).parent / "trainer/config/_generated_ppo_trainer.yaml").read_text(encoding="utf-8")
    )
    script = (ROOT / "examples" / "verl" / "train.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in script.splitlines() if line.startswith("python3 -m verl"))
    for setting in shlex.split(line)[3:]:
        node = config
        for key in setting.partition("=")[0].split("."):
            assert key in node, setting
            node = node[key]


def test_prime_rl_s_config_names_our_taskset() -> None:
    config = tomllib.loads((ROOT / "examples" / "prime_rl" / "rl.toml").read_text(encoding="utf-8"))
    (source,) = config["orchestrator"]["train"]["source"]
    taskset = source["env"]["taskset"]
    assert (ROOT / "examples" / "prime_rl" / f"{taskset['id'].replace('-', '_')}.py").is_file()
    assert taskset.keys() == {"id", "problems", "judge", "domain"} and load_domain(taskset["domain"])


def test_prime_rl_takes_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    schema = pytest.importorskip("prime_rl.configs.rl")
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "prime_rl"))
    config = schema.RLConfig.model_validate(tomllib.loads((ROOT / "examples/prime_rl/rl.toml").read_text(encoding="utf-8")))
    assert config.orchestrator.train.source[0].env.taskset.domain == "instruction_following"


def test_verifiers_loads_the_taskset_by_its_name_and_scores_with_its_reward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As prime-rl does it: verifiers' own loader finds the module, reads the export and scores an answer."""
    vf = pytest.importorskip("verifiers.v1", reason="needs verifiers, which prime-rl plays with")
    from verifiers.v1.utils.loaders import load_taskset, taskset_config_type

    monkeypatch.syspath_prepend(str(ROOT / "examples" / "prime_rl"))
    pop.run(simulated_config(write_texts(tmp_path / "texts", 5), documents=4), tmp_path / "run")
    count = pop.export(tmp_path / "run", tmp_path / "problems.jsonl", "verifiers")
    with serving(simulated_app(SimulatedChatModel(SimulatedModel()))) as judge:
        settings = {"id": "pop-rubrics", "problems": str(tmp_path / "problems.jsonl"), "judge": judge, "domain": "health_care"}
        tasks = list(load_taskset(taskset_config_type("pop-rubrics").model_validate(settings)).load())
        assert len(tasks) == count >= 2 and tasks[0].data.answer
        trace = vf.Trace.model_construct(rewards={}, metrics={}, root_reply="<answer>It is seven.</answer>")
        asyncio.run(tasks[0].score(trace))
    assert 0 <= trace.rewards["rubric"].value <= 2 and trace.reward == trace.rewards["rubric"].value
