"""Every extra of the built wheel, installed alone into an empty environment and used there: `make test-extras`.

    python -m tools.extras                all of them, minutes each; needs a package index
    python -m tools.extras core view      only these

Each is timed and weighed, `pop --help` answers, and the command that the extra is for does its work on the shipped models; then
the table of docs/install.md is printed. tests/e2e/test_wheel.py takes the core apart in more detail. A new extra is a function
in `PROBES`, which raises where the extra does not do what it is for.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = "core"
WITH_TORCH: Final = ("local", "train", "all")
BESIDE: Final[Mapping[str, str]] = {"track": "train", "constrain": "local"}
"""Extra → the one without which it has nothing to do; it is installed, too, once the extra itself was weighed."""
SHOWN: Final = 3000
"""Most characters that are shown of what a failed command said."""
WORDS: Final = "river stone house tree water light cold warm".split()


def call(*command: str | Path, at: Path | None = None, code: int = 0) -> str:
    """Run a command outside of this checkout and return what it said. Raises RuntimeError where it leaves with another code."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=at, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise RuntimeError(
            f"{' '.join(map(str, command))} left with {done.returncode}:\n{(done.stdout + done.stderr)[-SHOWN:]}"
        )
    return done.stdout + done.stderr


def build(out: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from it, let twine look at both, and return their paths."""
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    sdist, wheel = next(out.glob("*.tar.gz")), next(out.glob("*.whl"))
    call(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    return sdist, wheel


class Environment:
    """A virtual environment at `path` with the wheel and one extra ("core": none) in it, and `work`, a folder to work in."""

    def __init__(self, path: Path, wheel: Path, extra: str = CORE) -> None:
        self.path, self.work = path, path / "work"
        venv.create(path, with_pip=True)
        self.work.mkdir()
        began = time.monotonic()
        self.add(wheel, extra)
        self.seconds = time.monotonic() - began
        self.megabytes = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()) / 1e6

    def add(self, wheel: Path, extra: str) -> None:
        """Install the wheel with an extra, torch first where it needs it."""
        if extra in WITH_TORCH:
            self.python(str(ROOT / "tools" / "install_torch.py"))
        named = str(wheel) if extra == CORE else f"{wheel}[{extra}]"
        self.python("-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), named)

    def python(self, *arguments: str, code: int = 0) -> str:
        return call(self.path / "bin" / "python", *arguments, at=self.work, code=code)

    def pop(self, *arguments: str, code: int = 0) -> str:
        return call(self.path / "bin" / "pop", *arguments, at=self.work, code=code)

    def config(self, name: str, changes: Mapping[str, object]) -> str:
        """Write a config of a small run of the simulated model, with `changes`, and return its name."""
        texts = self.work / "texts"
        texts.mkdir(exist_ok=True)
        for number in range(12):
            words = (f"{WORDS[(number * place) % 8]}{(number * place) % 97}" for place in range(1, 200))
            (texts / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
        simulated: dict[str, object] = {
            "domain": "instruction_following",
            "corpus": {"type": "files", "paths": ["texts/"]},
            "model": {"type": "simulated"},
            "synthesis": {"documents": 8, "candidates": 4},
            "training": {"type": "none"},
            "measure": {"type": "none"},
        }
        (self.work / name).write_text(json.dumps({**simulated, **changes}), encoding="utf-8")
        return name

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[str]:
        """Yield the first line that a `pop` says that goes on, such as a server; it is ended afterwards."""
        command = [str(self.path / "bin" / "pop"), *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", str(self.work))}
        with subprocess.Popen(command, cwd=self.work, stdout=subprocess.PIPE, text=True, env=environment) as server:
            try:
                assert server.stdout is not None
                yield server.stdout.readline().strip()
            finally:
                server.terminate()


POCKET: Final[Mapping[str, object]] = {
    "domain": "pocket",
    "corpus": {"type": "pocket"},
    "filter": {"min_words": 5},
    "model": {"type": "pocket"},
    "synthesis": {
        "documents": 32,
        "candidates": 4,
        "scoring": "per_criterion",
        "share_identical": True,
        "proposer": {"max_tokens": 128},
        "solver": {"max_tokens": 64},
        "rubric_writer": {"max_tokens": 128},
        "judge": {"max_tokens": 64},
    },
}
"""A run that the shipped model plays in this process."""


CONSTRAINED: Final = """
import asyncio
from pop_selfplay.config import PocketModel
from pop_selfplay.models import open_model
from pop_selfplay.models.base import constrains
from pop_selfplay.records import Role

async def main():
    model = open_model(PocketModel())
    print(await constrains(model, Role.SOLVER))
    await model.close()

asyncio.run(main())
"""


def core(here: Environment) -> str:
    """Pairs without any package beyond the core's: made, shown, audited, exported."""
    here.pop("synth", here.config("pop.yaml", {}), "--out", "run")
    here.pop("status", "run")
    here.pop("audit", "run", "--no-play")
    return here.pop("export", "run", "--out", "pairs.jsonl")


def local(here: Environment) -> str:
    here.pop("synth", here.config("pop.yaml", POCKET), "--out", "run")
    return here.pop("export", "run", "--out", "pairs.jsonl")


def hub(here: Environment) -> str:
    """A dataset in a folder is read by the same library as one on the hub, which cannot be relied on here."""
    rows = here.work / "dataset"
    rows.mkdir()
    texts = [" ".join(f"{word}{number}" for word in WORDS * 10) for number in range(12)]
    (rows / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    here.pop("synth", here.config("pop.yaml", {"corpus": {"type": "hugging_face", "path": "dataset"}}), "--out", "run")
    return here.pop("export", "run", "--out", "pairs.jsonl")


def train(here: Environment) -> str:
    training = {"type": "dpo", "dpo": {"num_train_epochs": 1}, "keep_best": False}
    here.pop("run", here.config("pop.yaml", {**POCKET, "training": training}), "--out", "run")
    (model,) = (here.work / "run" / "models").glob("round-1/model.safetensors")
    return f"a trained model of {model.stat().st_size / 1e6:.1f} MB"


def evaluation(here: Environment) -> str:
    benchmarks = ROOT / "examples" / "benchmarks"
    return here.pop("eval", "simulated", "--suite", str(benchmarks / "suite.yaml"), "--data-dir", str(benchmarks)).splitlines()[
        -2
    ]


def report(here: Environment) -> str:
    here.pop("synth", here.config("pop.yaml", {}), "--out", "run")
    return pictures(here.work / "run" / "report.html")


def pictures(page: Path) -> str:
    count = page.read_text(encoding="utf-8").count("<svg")
    assert count > 0, f"{page} has no picture"
    return f"a report with {count} pictures"


def view(here: Environment) -> str:
    here.pop("synth", here.config("pop.yaml", {}), "--out", "run")
    with here.serving("view", "run", "--port", "0") as address, urllib.request.urlopen(address, timeout=30) as page:
        return f"a page of {len(page.read()):,} bytes"


def ray(here: Environment) -> str:
    workers = ("--runner", "ray", "--set", "runner.workers=1", "--set", "runner.shards=2")
    here.pop("run", here.config("pop.yaml", {}), "--out", "run", *workers)
    return here.pop("export", "run", "--out", "pairs.jsonl")


def track(here: Environment) -> str:
    training = {"type": "dpo", "dpo": {"num_train_epochs": 1, "report_to": ["tensorboard"]}, "keep_best": False}
    here.pop("run", here.config("pop.yaml", {**POCKET, "training": training}), "--out", "run")
    (curves, *_) = (here.work / "run").rglob("events.out.tfevents*")
    return f"training curves of {curves.stat().st_size:,} bytes"


def constrain(here: Environment) -> str:
    assert here.python("-c", CONSTRAINED).split()[-1] == "True", "the model in this process cannot be decoded by grammars"
    return "a model in this process, decoded by grammars"


def everything(here: Environment) -> str:
    return f"{train(here)}, {pictures(here.work / 'run' / 'report.html')}"


PROBES: Final[Mapping[str, Callable[[Environment], str]]] = {
    CORE: core,
    "local": local,
    "hub": hub,
    "train": train,
    "eval": evaluation,
    "track": track,
    "report": report,
    "view": view,
    "constrain": constrain,
    "ray": ray,
    "all": everything,
}


class Weighed(NamedTuple):
    """What came out for one extra: seconds to install, megabytes on disk, seconds of `pop --help`, and what was done."""

    extra: str
    seconds: float
    megabytes: float
    help_s: float
    done: str


def weigh(extra: str, wheel: Path, folder: Path) -> Weighed:
    """Install one extra into a new environment in `folder`, use it, and remove the environment."""
    here = Environment(folder / extra, wheel, extra)
    here.python("-m", "pip", "check")
    began = time.monotonic()
    assert "synth" in here.pop("--help")
    help_s = time.monotonic() - began
    if extra in BESIDE:
        here.add(wheel, BESIDE[extra])
    done = PROBES[extra](here).strip()
    shutil.rmtree(here.path)
    return Weighed(extra, here.seconds, here.megabytes, help_s, re.sub(r"\s+", " ", done))


def main(names: list[str]) -> int:
    """Weigh the named extras, or all; print a line for each as it is known. Return 0 where all work."""
    unknown = sorted(set(names) - PROBES.keys())
    if unknown:
        sys.stderr.write(f"no extra {', '.join(unknown)}: name some of {', '.join(PROBES)}\n")
        return 2
    failed = []
    sys.stdout.write("| extra | install, s | on disk, MB | pop --help, s | then |\n| --- | --- | --- | --- | --- |\n")
    with tempfile.TemporaryDirectory() as folder:
        _, wheel = build(Path(folder) / "dist")
        for extra in names or PROBES:
            sys.stdout.flush()
            try:
                row = weigh(extra, wheel, Path(folder))
            except (RuntimeError, AssertionError, ValueError, OSError) as error:
                failed.append(f"{extra}: {error}")
                continue
            sys.stdout.write(f"| `{row.extra}` | {row.seconds:.0f} | {row.megabytes:.0f} | {row.help_s:.1f} | {row.done} |\n")
    sys.stderr.write("".join(f"{line}\n" for line in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
