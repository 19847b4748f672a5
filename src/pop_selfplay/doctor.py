"""What is here, and does it suffice: `pop doctor`. Looks and asks, changes nothing.

    software   Python, this package, the extras
    machine    CPU, memory, disk, GPUs, and what size of model they train in which way
    model      reachable, known there, how long its context is, what its server does; or weights, their size and chat template
    config     what a run of it needs: extras, documents, abilities of its servers

Every check is a function that yields `Check`s; a new one gets a line in `look_at`. Memory per weight is the table of
docs/training.md, "Memory".
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from pop_selfplay import __version__
from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, RunConfig, VllmModel, load_config, read_yaml
from pop_selfplay.corpus import split_documents
from pop_selfplay.errors import PopError
from pop_selfplay.evaluation.specs import named_model
from pop_selfplay.extras import EXTRAS, absent, install_line
from pop_selfplay.models.endpoint.dialects import dialect_of
from pop_selfplay.models.endpoint.probe import abilities, served_models
from pop_selfplay.models.model_files import expanded
from pop_selfplay.records import Role
from pop_selfplay.selfplay import need_extras

Status = Literal["ok", "note", "warning", "problem"]
GIB: Final = 2**30
TESTED: Final = ((3, 11), (3, 13))
LEAST_DISK: Final = 10 * GIB
ACTIVATIONS: Final = 6 * GIB
"""What passes over one pair of 6144 tokens take beside the weights of a 7B, with checkpointing."""
USABLE: Final = 0.92
"""Share of a memory that weights, optimiser and activations may take together."""


class Way(NamedTuple):
    """A way to train: its name in a config, and the bytes of memory that a weight takes."""

    name: str
    bytes: float


ON_GPU: Final = (Way("all weights in bf16", 14), Way("lora: {}", 2.2), Way("lora: {}, quantization: 4bit", 0.75))
ON_CPU: Final = (Way("all weights in fp32", 16), Way("lora: {}", 4.4))


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was `found`, and what to do where that is not enough."""

    group: Literal["software", "machine", "model", "config"]
    name: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All checks, in the order in which they were made."""

    checks: list[Check]

    @property
    def problems(self) -> list[str]:
        return [check.name for check in self.checks if check.status == "problem"]


def look_at(what: str | None = None, place: Path = Path()) -> Diagnosis:
    """Check this installation and machine and, where `what` names a run config, a run or a model, whether that will work.

    Disk is looked at where `place` is. Raises UsageError and ConfigError where `what` names nothing.
    """
    checks = [*_python(), *_extras(), *_cpu(place), *_gpus(), *_training(gpus := find_gpus())]
    if what is None:
        return Diagnosis(checks=checks)
    config = _config_named(what)
    models = {what: named_model(what)[1]} if config is None else {role.value: config.player(role) for role in Role}
    for model in dict.fromkeys(json.dumps(model.model_dump(mode="json")) for model in models.values()):
        roles = [role for role, own in models.items() if json.dumps(own.model_dump(mode="json")) == model]
        checks += _model(models[roles[0]], ", ".join(roles) if len(roles) < len(Role) else "all roles", config, gpus)
    if config is not None:
        checks += _config(config)
    return Diagnosis(checks=checks)


def _config_named(what: str) -> RunConfig | None:
    """Return the run config that `what` names, None for anything else: then it is a model."""
    path = Path(what) / "config.yaml" if Path(what).is_dir() else Path(what)
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return None
    data = read_yaml(path, "config")
    return None if isinstance(data, dict) and "domain" not in data and "type" in data else load_config(path)


# --- software ---------------------------------------------------------------------------------------------------------


def _python() -> Iterator[Check]:
    running = sys.version_info[:2]
    tested = TESTED[0] <= running <= TESTED[1]
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, pop {__version__}"
    advice = "" if tested else f"tested with Python {'.'.join(map(str, TESTED[0]))} to {'.'.join(map(str, TESTED[1]))}"
    yield Check("software", "python", "ok" if tested else "warning", found, advice)


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        missing = absent(extra)
        if missing:
            advice = install_line(extra)
            yield Check("software", f"extra {extra}", "note", "not installed", advice)
        else:
            found = ", ".join(f"{module} {_version(module)}".strip() for module in modules)
            yield Check("software", f"extra {extra}", "ok", found)


def _version(module: str) -> str:
    try:
        return importlib.metadata.version(module)
    except importlib.metadata.PackageNotFoundError:
        return ""


# --- machine ----------------------------------------------------------------------------------------------------------


class Gpu(NamedTuple):
    """A GPU as its driver tells it: name and bytes of memory."""

    name: str
    memory: int


def find_gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs of this machine, by nvidia-smi, which needs no torch; [] where there is none."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        rows = [line.rsplit(",", 1) for line in said.splitlines() if "," in line]
        return [Gpu(name.strip(), int(mib) * 2**20) for name, mib in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def memory() -> int:
    """Return the bytes of memory that this process may use: the machine's, or the limit of its container."""
    own = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return own
    return min(own, int(limit)) if limit.isdecimal() else own


def _cpu(place: Path) -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("machine", "cpu", "ok", f"{cores} cores, {memory() / GIB:.0f} GiB of memory")
    free = shutil.disk_usage(place).free
    few = free < LEAST_DISK
    advice = "a trained 7B model takes 15 GiB, its checkpoints 75 GiB more: use another disk (--out)" if few else ""
    found = f"{free / GIB:.0f} GiB free at {place.resolve()}"
    yield Check("machine", "disk", "warning" if few else "ok", found, advice)


def _gpus() -> Iterator[Check]:
    gpus = find_gpus()
    found = ", ".join(f"{gpu.name} ({gpu.memory / GIB:.0f} GiB)" for gpu in gpus) or "none that nvidia-smi shows"
    torch = _version("torch")
    if gpus and "+cpu" in torch:
        advice = "torch is a build for CPUs and does not see them: reinstall torch for CUDA"
        yield Check("machine", "gpus", "problem", f"{found}; torch {torch}", advice)
    else:
        yield Check("machine", "gpus", "ok" if gpus else "note", found)


def _training(gpus: list[Gpu]) -> Iterator[Check]:
    """Say what size of model trains here in which way."""
    ways, room = _ways(gpus)
    sizes = "; ".join(f"{way.name}: up to {billions(room / way.bytes)} ({way.bytes:g} bytes a weight)" for way in ways)
    where = "one GPU" if gpus else "the CPU, slowly"
    found = f"on {where}, {room / GIB:.0f} GiB beside {ACTIVATIONS / GIB:.0f} GiB for activations: {sizes}"
    if len(gpus) > 1:
        shared = sum(USABLE * gpu.memory - ACTIVATIONS for gpu in gpus)
        found += f"; over {len(gpus)} GPUs with FSDP2: up to {billions(shared / 16)} (16 bytes a weight, shared)"
    yield Check("machine", "training", "note", found)


def _ways(gpus: list[Gpu]) -> tuple[tuple[Way, ...], float]:
    """Return how weights can be trained here, and the bytes that are left for them beside the activations."""
    room = USABLE * (max(gpu.memory for gpu in gpus) if gpus else memory()) - ACTIVATIONS
    return (ON_GPU if gpus else ON_CPU), max(0.0, room)


def billions(weights: float) -> str:
    """Return a number of weights as models are called: 7.6B, 490M."""
    return f"{weights / 1e9:.1f}B" if weights >= 1e9 else f"{weights / 1e6:.0f}M"


# --- model ------------------------------------------------------------------------------------------------------------


def _model(model: ModelConfig, roles: str, config: RunConfig | None, gpus: list[Gpu]) -> Iterator[Check]:
    """Check one model. A server that does not answer is a problem, whatever else there is."""
    try:
        if isinstance(model, EndpointModel):
            yield from _server(model, roles, config)
            if model.weights is not None:
                yield _weights(model.weights, gpus)
        elif isinstance(model, LocalModel | VllmModel):
            yield _weights(model.path, gpus)
            if isinstance(model, VllmModel):
                yield _vllm(model, gpus)
        else:
            yield _shipped(model, roles, config)
    except PopError as error:
        yield Check("model", roles, "problem", str(error), "start it, or correct the model's settings")


def _shipped(model: ModelConfig, roles: str, config: RunConfig | None) -> Check:
    if model.type == "pocket" and config is not None and config.domain != "pocket":
        found = f"pocket reads 1024 tokens, and knows the prompts of the domain pocket alone, not those of {config.domain}"
        return Check("model", roles, "warning", found, "name another model; simulated tries every command without weights")
    return Check("model", roles, "ok", f"{model.type}, shipped with this package")


def _server(model: EndpointModel, roles: str, config: RunConfig | None) -> Iterator[Check]:
    for url in model.urls:
        listed = served_models(url, dialect_of(model).headers(model))
        named = next((served for served in listed if served.name == model.model), None)
        names = ", ".join(served.name for served in listed[:10]) or "nothing"
        if named is None:
            found = f"{url} serves {names}, and not {model.model!r}"
            yield Check("model", roles, "problem", found, "set model.model to one of these")
            return
        yield Check("model", roles, "ok", f"{url} serves {names}")
        yield _context(named.context, config)
    needed = {"answer"}
    if config is not None:
        needed |= {"logprobs"} if config.synthesis.mode.needs_logprobs else set()
        needed |= {"json_schema"} if config.synthesis.json_schema else set()
    for ability, said in abilities(model).items():
        wanted = ability in needed
        status: Status = "ok" if not said else "problem" if wanted else "note"
        yield Check("model", f"{roles}: {ability}", status, said or "yes", _DO.get(ability, "") if said else "")


_DO: Final = {
    "n": "nothing to do: every candidate gets a call of its own, and a server with a prefix cache hardly notices",
    "logprobs": "scoring logprob does not work with it; the other modes do",
    "json_schema": "leave synthesis.json_schema false",
    "answer": "try the model's name, its key (model.api_key_env) and model.omit",
}


def _context(context: int | None, config: RunConfig | None) -> Check:
    if context is None:
        return Check("model", "context", "note", "its server does not say how long it is")
    wanted = max(config.synthesis.solver.max_tokens, config.synthesis.rubric_writer.max_tokens) if config else 0
    if context <= wanted:
        advice = f"lower synthesis.solver.max_tokens and rubric_writer.max_tokens below {context}, less the prompt"
        return Check("model", "context", "warning", f"{context} tokens, answers may have {wanted}", advice)
    return Check("model", "context", "ok", f"{context} tokens")


def _weights(path: str, gpus: list[Gpu]) -> Check:
    """Say how large the weights are, whether they have a chat template, and how they can be trained here."""
    folder = Path(expanded(path))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return Check("model", path, "note", "no directory here: a run takes it from the hub, which was not asked")
    size = sum(file.stat().st_size for file in files)
    weights = size / (4 if _stored_in(folder) == "float32" else 2)
    ways, room = _ways(gpus)
    fitting = [way.name for way in ways if weights * way.bytes <= room]
    found = f"{billions(weights)} weights, {_template(folder)}; trains here with {' or '.join(fitting) or 'nothing'}"
    advice = (
        "" if fitting else f"it needs {weights * ways[-1].bytes / GIB:.0f} GiB at the least, and {room / GIB:.0f} are there"
    )
    return Check("model", path, "ok" if fitting else "warning", found, advice)


def _stored_in(folder: Path) -> str:
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return str(settings.get("dtype") or settings.get("torch_dtype") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _template(folder: Path) -> str:
    try:
        own = (folder / "chat_template.jinja").is_file() or "chat_template" in (folder / "tokenizer_config.json").read_text(
            "utf-8"
        )
    except OSError:
        own = False
    return "a chat template of its own" if own else "no chat template: the default one is used"


def _vllm(model: VllmModel, gpus: list[Gpu]) -> Check:
    found, wanted = shutil.which(expanded(model.executable)), model.tensor_parallel * model.data_parallel
    if found is None:
        advice = "install vLLM in an environment of its own and name its command in model.executable"
        return Check("model", "vllm", "problem", f"there is no command {model.executable!r}", advice)
    if not gpus:
        return Check("model", "vllm", "note", f"{found}; nvidia-smi shows no GPU", "fits vLLM's builds for CPUs and other GPUs")
    named = len(model.gpus or gpus)
    if absent := sorted(set(model.gpus or ()) - set(range(len(gpus)))):
        return Check(
            "model", "vllm", "problem", f"there is no GPU {absent[0]}", f"name some of 0 to {len(gpus) - 1} in model.gpus"
        )
    advice = "" if wanted <= named else "lower model.tensor_parallel or data_parallel"
    return Check("model", "vllm", "problem" if advice else "ok", f"{found}, for {wanted} of {named} GPUs", advice)


# --- config -----------------------------------------------------------------------------------------------------------


def _config(config: RunConfig) -> Iterator[Check]:
    try:
        need_extras(config, training=True)
        yield Check("config", "extras", "ok", "all that the run needs is installed")
    except PopError as error:
        yield Check("config", "extras", "problem", str(error))
    try:
        split = split_documents(config)
    except PopError as error:
        yield Check("config", "corpus", "problem", str(error))
        return
    held_out, *rounds = map(len, split.rounds)
    lost = ", ".join(f"{reason} {count}" for reason, count in split.dropped.items()) or "none"
    played = "1 round" if config.rounds == 1 else f"{config.rounds} rounds"
    found = f"{sum(rounds)} documents for {played}, {held_out} held out; dropped: {lost}"
    fewer = rounds[-1] < config.synthesis.documents
    advice = f"fewer than synthesis.documents, {config.synthesis.documents}: the run takes what there is" if fewer else ""
    yield Check("config", "corpus", "note" if fewer else "ok", found, advice)
