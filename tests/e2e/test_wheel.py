"""The wheel, installed alone into an empty environment, does all that the core promises, and says what the rest needs.

The package as users get it: nothing of this checkout but the wheel is used. `make test-wheel`; needs a package index.
`tools/extras.py` does the same for every extra, in less detail.
"""

import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools.extras import Environment, build

pytestmark = [pytest.mark.wheel, pytest.mark.timeout(1200)]
MOST_MB = 450
"""Most of what the core may take, pip included."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the sdist and the wheel that was built from it; twine has looked at both."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def core(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("core"), built[1])


@contextmanager
def simulated(core: Environment) -> Iterator[str]:
    """Yield the address of a `pop simulate` of that environment."""
    with core.serving("simulate", "--port", "0", "--brief", "--speedup", "1000") as said:
        found = re.search(r"serving (\S+):", said)
        assert found is not None
        yield found[1]


@pytest.fixture(scope="module")
def run(core: Environment) -> Path:
    """Return the directory of a run that was synthesised there."""
    with simulated(core) as address:
        served = {"type": "endpoint", "base_url": address, "model": "simulated", "weights": "someone/model"}
        core.pop("synth", core.config("pop.yaml", {"model": served, "training": {"type": "dpo"}}), "--out", "run")
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


def test_the_core_is_small_whole_and_without_torch(core: Environment) -> None:
    core.python("-m", "pip", "check")
    for module in ("torch", "transformers", "trl", "datasets", "inspect_ai"):
        assert "ModuleNotFoundError" in core.python("-c", f"import {module}", code=1)
    sys.stdout.write(f"the core takes {core.megabytes:.0f} MB, installed in {core.seconds:.0f} s\n")
    assert core.megabytes < MOST_MB


def test_the_command_answers(core: Environment) -> None:
    assert re.fullmatch(r"pop \d+\.\d+\.\d+\n", core.pop("--version"))
    assert "synth" in core.pop("--help")
    assert "complete" in core.pop("--show-completion", "bash")


@pytest.mark.usefixtures("run")
def test_a_config_that_fits_the_texts_is_written_found_sound_and_planned(core: Environment) -> None:
    with simulated(core) as address:
        said = core.pop("init", "started.yaml", "--corpus", "texts/", "--model", address)
        assert "12 texts, 12 of them usable" in said
        assert json.loads(core.pop("doctor", "started.yaml", "--json"))["checks"]
        assert "calls" in core.pop("synth", "started.yaml", "--dry-run")


def test_pairs_are_made_looked_at_and_exported(core: Environment, run: Path) -> None:
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
    core: Environment, arguments: tuple[str, ...], extra: str
) -> None:
    assert f"pip install 'pop-selfplay[{extra}]'" in core.pop(*arguments, code=2)
