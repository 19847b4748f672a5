"""`pop doctor`: what is here, and does it suffice? Looks and asks, changes nothing.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from pop_selfplay import __version__
from pop_selfplay.cli.app import app
from pop_selfplay.errors import GateFailed, PopError
from pop_selfplay.extras import EXTRAS, absent, install_line

if TYPE_CHECKING:
    from pop_selfplay.config import EndpointModel, ModelConfig, RunConfig, VllmModel

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


@app.command()
def doctor(
    what: Annotated[
        str | None,
        typer.Argument(help="also check this config, run or model (named as for pop eval)", metavar="CONFIG|RUN|MODEL"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the checks as JSON")] = False,
) -> None:
    """Check the installation, the machine, and whether a config or a model will work here. Exit code 3: there is a problem."""
    diagnosis = look_at(what)
    if as_json:
        typer.echo(json.dumps(asdict(diagnosis), indent=1, ensure_ascii=False))
    else:
        show(diagnosis)
    if diagnosis.problems:
        raise GateFailed(f"{len(diagnosis.problems)} problems: {', '.join(diagnosis.problems)}")


def show(diagnosis: Diagnosis) -> None:
    """Print the checks, a group after the other; what a server or a file said is printed on one line."""
    from rich.console import Console
    from rich.text import Text

    from pop_selfplay.report.format import printable

    console, styles = Console(), {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
    group = ""
    for check in diagnosis.checks:
        if check.group != group:
            group = check.group
            console.print(Text(group, style="bold"))
        line = Text.assemble(
            "  ", (f"{check.status:<8}", styles[check.status]), f"{printable(check.name)}: {printable(check.found)}"
        )
        console.print(line, soft_wrap=True)
        if check.advice:
            console.print(Text(f"          → {printable(check.advice)}"), soft_wrap=True)


def look_at(what: str | None = None, place: Path = Path()) -> Diagnosis:
    """Check this installation and machine and, where `what` names a run config, a run or a model, whether that will work.

    Disk is looked at where `place` is. Raises UsageError and ConfigError where `what` names nothing.
    """
    from pop_selfplay.evaluation.model_spec import named_model
    from pop_selfplay.records import Role

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


def _config_named(what: str) -> "RunConfig | None":
    """Return the run config that `what` names, None for anything else: then it is a model."""
    from pop_selfplay.config import load_config, read_yaml

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
    yield Check(group="software", name="python", status="ok" if tested else "warning", found=found, advice=advice)


def _extras() -> Iterator[Check]:
    for extra, modules in EXTRAS.items():
        missing = absent(extra)
        if missing:
            advice = install_line(extra)
            yield Check(group="software", name=f"extra {extra}", status="note", found="not installed", advice=advice)
        else:
            found = ", ".join(f"{module} {_version(module)}".strip() for module in modules)
            yield Check(group="software", name=f"extra {extra}", status="ok", found=found)


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
    yield Check(group="machine", name="cpu", status="ok", found=f"{cores} cores, {memory() / GIB:.0f} GiB of memory")
    free = shutil.disk_usage(place).free
    few = free < LEAST_DISK
    advice = "a trained 7B model takes 15 GiB, its checkpoints 75 GiB more: use another disk (--out)" if few else ""
    found = f"{free / GIB:.0f} GiB free at {place.resolve()}"
    yield Check(group="machine", name="disk", status="warning" if few else "ok", found=found, advice=advice)


def _gpus() -> Iterator[Check]:
    gpus = find_gpus()
    found = ", ".join(f"{gpu.name} ({gpu.memory / GIB:.0f} GiB)" for gpu in gpus) or "none that nvidia-smi shows"
    torch = _version("torch")
    if gpus and "+cpu" in torch:
        advice = "torch is a build for CPUs and does not see them: reinstall torch for CUDA"
        yield Check(group="machine", name="gpus", status="problem", found=f"{found}; torch {torch}", advice=advice)
    else:
        yield Check(group="machine", name="gpus", status="ok" if gpus else "note", found=found)


def _training(gpus: list[Gpu]) -> Iterator[Check]:
    """Say what size of model trains here in which way."""
    ways, room = _ways(gpus)
    sizes = "; ".join(f"{way.name}: up to {billions(room / way.bytes)} ({way.bytes:g} bytes a weight)" for way in ways)
    where = "one GPU" if gpus else "the CPU, slowly"
    found = f"on {where}, {room / GIB:.0f} GiB beside {ACTIVATIONS / GIB:.0f} GiB for activations: {sizes}"
    if len(gpus) > 1:
        shared = sum(USABLE * gpu.memory - ACTIVATIONS for gpu in gpus)
        found += f"; over {len(gpus)} GPUs with FSDP2: up to {billions(shared / 16)} (16 bytes a weight, shared)"
    yield Check(group="machine", name="training", status="note", found=found)


def _ways(gpus: list[Gpu]) -> tuple[tuple[Way, ...], float]:
    """Return how weights can be trained here, and the bytes that are left for them beside the activations."""
    room = USABLE * (max(gpu.memory for gpu in gpus) if gpus else memory()) - ACTIVATIONS
    return (ON_GPU if gpus else ON_CPU), max(0.0, room)


def billions(weights: float) -> str:
    """Return a number of weights as models are called: 7.6B, 490M."""
    return f"{weights / 1e9:.1f}B" if weights >= 1e9 else f"{weights / 1e6:.0f}M"


# --- model ------------------------------------------------------------------------------------------------------------


def _model(model: "ModelConfig", roles: str, config: "RunConfig | None", gpus: list[Gpu]) -> Iterator[Check]:
    """Check one model. A server that does not answer is a problem, whatever else there is."""
    from pop_selfplay.config import EndpointModel, LocalModel, VllmModel

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
            yield Check(group="model", name=roles, status="ok", found=f"{model.type}, shipped with this package")
    except PopError as error:
        yield Check(
            group="model", name=roles, status="problem", found=str(error), advice="start it, or correct the model's settings"
        )


def _server(model: "EndpointModel", roles: str, config: "RunConfig | None") -> Iterator[Check]:
    from pop_selfplay.models.endpoint.dialects import dialect_of
    from pop_selfplay.models.endpoint.probe import abilities, served_models

    for url in model.urls:
        listed = served_models(url, dialect_of(model).headers(model))
        named = next((served for served in listed if served.name == model.model), None)
        names = ", ".join(served.name for served in listed[:10]) or "nothing"
        if named is None:
            found = f"{url} serves {names}, and not {model.model!r}"
            yield Check(group="model", name=roles, status="problem", found=found, advice="set model.model to one of these")
            return
        yield Check(group="model", name=roles, status="ok", found=f"{url} serves {names}")
        yield _context(named.context, config)
    needed = {"answer"}
    if config is not None:
        needed |= {"logprobs"} if config.synthesis.mode.needs_logprobs else set()
        needed |= {"json_schema"} if config.synthesis.json_schema else set()
    for ability, said in abilities(model).items():
        wanted = ability in needed
        status: Status = "ok" if not said else "problem" if wanted else "note"
        yield Check(
            group="model",
            name=f"{roles}: {ability}",
            status=status,
            found=said or "yes",
            advice=_DO.get(ability, "") if said else "",
        )


_DO: Final = {
    "n": "nothing to do: every candidate gets a call of its own, and a server with a prefix cache hardly notices",
    "logprobs": "scoring logprob does not work with it; the other modes do",
    "json_schema": "leave synthesis.json_schema false",
    "answer": "try the model's name, its key (model.api_key_env) and model.omit",
}


def _context(context: int | None, config: "RunConfig | None") -> Check:
    if context is None:
        return Check(group="model", name="context", status="note", found="its server does not say how long it is")
    wanted = max(config.synthesis.solver.max_tokens, config.synthesis.rubric_writer.max_tokens) if config else 0
    if context <= wanted:
        advice = f"lower synthesis.solver.max_tokens and rubric_writer.max_tokens below {context}, less the prompt"
        return Check(
            group="model", name="context", status="warning", found=f"{context} tokens, answers may have {wanted}", advice=advice
        )
    return Check(group="model", name="context", status="ok", found=f"{context} tokens")


def _weights(path: str, gpus: list[Gpu]) -> Check:
    """Say how large the weights are, whether they have a chat template, and how they can be trained here."""
    from pop_selfplay.models.model_files import expanded

    folder = Path(expanded(path))
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return Check(group="model", name=path, status="note", found="no directory of weights here: it is taken from the hub")
    size = sum(file.stat().st_size for file in files)
    weights = size / (4 if _stored_in(folder) == "float32" else 2)
    ways, room = _ways(gpus)
    fitting = [way.name for way in ways if weights * way.bytes <= room]
    found = f"{billions(weights)} weights, {_template(folder)}; trains here with {' or '.join(fitting) or 'nothing'}"
    advice = (
        "" if fitting else f"it needs {weights * ways[-1].bytes / GIB:.0f} GiB at the least, and {room / GIB:.0f} are there"
    )
    return Check(group="model", name=path, status="ok" if fitting else "warning", found=found, advice=advice)


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


def _vllm(model: "VllmModel", gpus: list[Gpu]) -> Check:
    from pop_selfplay.models.model_files import expanded

    found, wanted = shutil.which(expanded(model.executable)), model.tensor_parallel * model.data_parallel
    if found is None:
        advice = "install vLLM in an environment of its own and name its command in model.executable"
        return Check(
            group="model", name="vllm", status="problem", found=f"there is no command {model.executable!r}", advice=advice
        )
    there = len(model.gpus or gpus)
    enough = wanted <= there
    return Check(
        group="model",
        name="vllm",
        status="ok" if enough else "problem",
        found=f"{found}, for {wanted} of {there} GPUs",
        advice="" if enough else "lower model.tensor_parallel or data_parallel",
    )


# --- config -----------------------------------------------------------------------------------------------------------


def _config(config: "RunConfig") -> Iterator[Check]:
    from pop_selfplay.corpus import split_documents
    from pop_selfplay.selfplay import need_extras

    try:
        need_extras(config, training=True)
        yield Check(group="config", name="extras", status="ok", found="all that the run needs is installed")
    except PopError as error:
        yield Check(group="config", name="extras", status="problem", found=str(error))
    try:
        split = split_documents(config)
    except PopError as error:
        yield Check(group="config", name="corpus", status="problem", found=str(error))
        return
    held_out, *rounds = map(len, split.rounds)
    lost = ", ".join(f"{reason} {count}" for reason, count in split.dropped.items()) or "none"
    played = "1 round" if config.rounds == 1 else f"{config.rounds} rounds"
    found = f"{sum(rounds)} documents for {played}, {held_out} held out; dropped: {lost}"
    fewer = rounds[-1] < config.synthesis.documents
    advice = f"fewer than synthesis.documents, {config.synthesis.documents}: the run takes what there is" if fewer else ""
    yield Check(group="config", name="corpus", status="note" if fewer else "ok", found=found, advice=advice)
