"""The wheel, installed alone into an empty environment, does all that the core promises, and says what the rest needs.

The package as users get it: nothing of this checkout but the wheel is used. `make test-wheel`; needs a package index.
"""

import json
import os
import re
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
MOST_MB = 450
"""Most of what the core may take, pip included."""


def call(*command: str | Path, at: Path | None = None, code: int = 0) -> str:
    """Run a command outside of this checkout, and return what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), cwd=at, env=environment, capture_output=True, text=True)
    assert done.returncode == code, f"{command} left with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist and the wheel that was built from it, and let twine look at both."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    sdist, wheel = next(out.glob("*.tar.gz")), next(out.glob("*.whl"))
    assert "PASSED" in call(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    return sdist, wheel


class Installed:
    """An environment of its own with the wheel in it."""

    def __init__(self, path: Path, wheel: Path) -> None:
        self.path, self.work = path, path / "work"
        venv.create(path, with_pip=True)
        self.work.mkdir()
        began = time.monotonic()
        self.python("-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel))
        self.seconds = time.monotonic() - began
        self.megabytes = sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir()) / 1e6

    def python(self, *arguments: str, code: int = 0) -> str:
        return call(self.path / "bin" / "python", *arguments, at=self.work, code=code)

    def pop(self, *arguments: str, code: int = 0) -> str:
        return call(self.path / "bin" / "pop", *arguments, at=self.work, code=code)


@pytest.fixture(scope="module")
def core(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("core"), built[1])


@contextmanager
def simulated(core: Installed) -> Iterator[str]:
    """Yield the address of a `pop simulate` of that environment."""
    command = [str(core.path / "bin" / "pop"), "simulate", "--port", "0", "--brief", "--speedup", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]}) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"serving (\S+):", server.stdout.readline())
            assert found is not None
            yield found[1]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def run(core: Installed) -> Path:
    """Return the directory of a run that was synthesised there."""
    words = "river stone house tree water light cold warm".split()
    (core.work / "texts").mkdir()
    for number in range(12):
        text = " ".join(f"{words[(number * place) % 8]}{(number * place) % 97}" for place in range(1, 200))
        (core.work / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    with simulated(core) as address:
        config = {
            "domain": "instruction_following",
            "corpus": {"type": "files", "paths": ["texts/"]},
            "model": {"type": "endpoint", "base_url": address, "model": "simulated", "weights": "someone/model"},
            "synthesis": {"documents": 8, "candidates": 4},
            "measure": {"type": "none"},
        }
        (core.work / "pop.yaml").write_text(json.dumps(config), encoding="utf-8")
        core.pop("synth", "pop.yaml", "--out", "run")
    return core.work / "run"


def test_the_distributions_hold_the_package_its_data_and_nothing_that_makes_it(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    inside = zipfile.ZipFile(wheel).namelist()
    assert {"pop_selfplay/py.typed", "pop_selfplay/pocket/model/model.safetensors", "pop_selfplay/cli/starter.yaml"} <= set(
        inside
    )
    assert {name.split("/")[0] for name in inside} == {
        "pop_selfplay",
        next(n for n in inside if ".dist-info" in n).split("/")[0],
    }
    with tarfile.open(sdist) as file:
        assert any(name.endswith("/LICENSE") for name in file.getnames())


def test_the_core_is_small_whole_and_without_torch(core: Installed) -> None:
    core.python("-m", "pip", "check")
    for module in ("torch", "transformers", "trl", "datasets", "inspect_ai"):
        assert "ModuleNotFoundError" in core.python("-c", f"import {module}", code=1)
    sys.stdout.write(f"the core takes {core.megabytes:.0f} MB, installed in {core.seconds:.0f} s\n")
    assert core.megabytes < MOST_MB


def test_the_command_answers(core: Installed) -> None:
    assert re.fullmatch(r"pop \d+\.\d+\.\d+\n", core.pop("--version"))
    assert "synth" in core.pop("--help")
    assert "complete" in core.pop("--show-completion", "bash")


@pytest.mark.usefixtures("run")
def test_a_config_that_fits_the_texts_is_written_found_sound_and_planned(core: Installed) -> None:
    with simulated(core) as address:
        said = core.pop("init", "started.yaml", "--corpus", "texts/", "--model", address)
        assert "12 texts, 12 of them usable" in said
        assert json.loads(core.pop("doctor", "started.yaml", "--json"))["checks"]
        assert "calls" in core.pop("synth", "started.yaml", "--dry-run")


def test_pairs_are_made_looked_at_and_exported(core: Installed, run: Path) -> None:
    assert "pairs in" in core.pop("pairs", "run")
    assert json.loads(core.pop("status", "run", "--json"))["rounds"]
    for format_, name in (("trl", "a.parquet"), ("openai", "b.jsonl"), ("grpo", "c.parquet"), ("verl", "d.jsonl")):
        said = core.pop("export", "run", "--format", format_, "--out", name)
        assert re.match(r"[1-9]\d* rows in \S+, its dataset card in \w\.card\.md", said), format_
    assert "bias" in core.pop("audit", "run", "--no-play")
    assert (run / "audit.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("run", "run"), "train"),
        (("train", "run"), "train"),
        (("view", "run"), "view"),
        (("quickstart",), "train"),
        (("eval", "http://localhost:9/v1#m", "--suite", "gsm8k"), "eval"),
        (("duel", "pocket", "simulated", "--judge", "simulated", "--run", "run", "--round", "1"), "local"),
        (("synth", "pop.yaml", "--set", "corpus={type: hugging_face, path: someone/texts}", "--out", "other"), "hub"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
@pytest.mark.usefixtures("run")
def test_what_an_extra_is_needed_for_says_the_line_that_installs_it(
    core: Installed, arguments: tuple[str, ...], extra: str
) -> None:
    assert f"pip install 'pop-selfplay[{extra}]'" in core.pop(*arguments, code=2)
