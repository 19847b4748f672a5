"""Every command of README and docs/ is run as it stands there: `make test-docs`, or `python -m tools.run_docs [PAGE…]`.

Commands are the blocks fenced as ```bash. Those of a page are run one after the other in a folder that has what its reader
would have: texts, a config, a judge, prompts, a finished run, a server. For what a test cannot have, something else stands in
(`STAND_INS`), such as the shipped model for one of seven billion parameters. Left out are the programs of `ELSEWHERE`, and
blocks that say why in the line above them: `<!-- not run: why -->`. A file that a page shows is made of the block below
`<!-- file: NAME -->`.

A page whose commands need another folder gets a line in `START`.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from pop_selfplay.config import PocketCorpus
from pop_selfplay.corpus import read_documents
from pop_selfplay.records import Document

ROOT: Final = Path(__file__).resolve().parents[1]
GENERATED: Final = ("docs/reference", "docs/changelog.md")
BLOCK: Final = re.compile(r"(?:^<!-- (not run|file): (.+?) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_S: Final = 600
DOCUMENTS: Final = 40
ELSEWHERE: Final[Mapping[str, str]] = {
    "pip": "make test-extras installs every extra",
    "make": "these are what CI runs",
    "git": "there is no address yet",
    "python3": "makes an environment, as make test-extras does",
    ".": "enters that environment",
    "docker": "needs Docker",
    "vllm": "needs vLLM and a GPU; a simulated server stands in for it",
    "accelerate": "needs several GPUs; tests/integration/training/test_processes.py starts two processes",
}
"""Program → why a line that starts with it is not run here."""
STAND_INS: Final = (
    (r"model=\{type: local, path: Qwen/[^}]*\}", "model={type: simulated, seed: 1}"),
    (r"^(pop init \S+(?: --corpus texts/)?)(?!.*--model)", r"\1 --model simulated"),
    (r"path/to/model", "pocket"),
    (r"Qwen/Qwen2\.5-7B-Instruct", "simulated"),
    (r"--suite (?:paper|health)\b", "--suite examples/benchmarks/suite.yaml --data-dir examples/benchmarks"),
    (r"#other\b", "#simulated"),
    (r"runs/quickstart-seed1\b", "runs/mine"),
    (r"--shard (\d)/8", lambda match: f"--shard {min(2, int(match[1]))}/2"),
    (r"^pop (view|label) (?!.*--import)", r"pop \1 --port 0 "),
    (r"^pop simulate (?!.*--port)", "pop simulate --port 0 "),
)
"""What is written in the docs → what is run for it."""
SERVERS: Final = re.compile(r"^pop (?:view|label(?!.*--import)|simulate)\b")
"""Commands that go on until they are interrupted."""
MAKES_RUN: Final = re.compile(r"--out runs/mine\b")
START: Final[Mapping[str, str]] = dict.fromkeys(("rejudge.md", "scaling.md", "scoring.md", "speed.md"), "simulated")
"""Page → whose run it starts with; the pocket model's otherwise, which can also be trained."""


class Block(NamedTuple):
    """Commands of a page, the first in line `line`; `reason` says why they are not run, "" where they are."""

    page: Path
    line: int
    text: str
    reason: str

    @property
    def commands(self) -> list[tuple[int, str]]:
        """The commands with the lines they begin in, continued lines joined."""
        found: list[tuple[int, str]] = []
        goes_on = False
        for number, line in enumerate(self.text.splitlines(), self.line):
            text = line.removesuffix("\\").strip()
            if goes_on:
                found[-1] = (found[-1][0], f"{found[-1][1]} {text}")
            elif text:
                found.append((number, text))
            goes_on = line.endswith("\\")
        return found


def pages() -> list[Path]:
    """Return README and the pages of docs/ that are written by hand."""
    found = (path for path in sorted((ROOT / "docs").rglob("*.md")) if not str(path.relative_to(ROOT)).startswith(GENERATED))
    return [ROOT / "README.md", *found]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of commands of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: match.start(4)].count("\n") + 1, match[4], match[2] if match[1] == "not run" else "")
        for match in BLOCK.finditer(text)
        if match[3] == "bash"
    ]


def files(page: Path) -> dict[str, str]:
    """Return the files that a page shows, by name."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return {match[2]: match[4] for match in found if match[1] == "file"}


def elsewhere(command: str) -> str:
    """Return why a command is not run here, "" where it is."""
    return ELSEWHERE.get(command.split()[0].rpartition("/")[2] or ".", "")


class Place:
    """The folder that the commands of one page are run in, and the server beside it, at `port`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)}

    def stand_in(self, text: str) -> str:
        """Return what is run for `text`."""
        for pattern, instead in STAND_INS:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
        return re.sub(r"(localhost:|127\.0\.0\.1:|--port )8000\b", rf"\g<1>{self.port}", text)

    def furnish(self, page: Path, finished: Path) -> None:
        """Put there what the reader of a page has: `finished` is a folder with a config and its run."""
        shutil.copytree(finished, self.folder, dirs_exist_ok=True)
        for room in ("configs", "examples", "benchmarks"):
            (self.folder / room).symlink_to(ROOT / room)
        served = {"type": "endpoint", "base_url": f"http://127.0.0.1:{self.port}/v1", "model": "simulated"}
        self.write("judge.yaml", yaml.safe_dump(served))
        self.write("prompts.jsonl", "".join(json.dumps({"prompt": f"Write about {what}."}) + "\n" for what in ("rain", "wood")))
        config = yaml.safe_load((self.folder / "pop.yaml").read_text(encoding="utf-8"))
        for name, seed in (("changed.yaml", 43), ("band.yaml", 44)):
            self.write(name, yaml.safe_dump({**config, "seed": seed}))
        (self.folder / "my").mkdir()
        rate = ROOT / "src" / "pop_selfplay" / "domains" / "instruction_following" / "rate.md"
        self.write("my/rate.md", f"{rate.read_text(encoding='utf-8')}\nTake your time.\n")
        for name, text in files(page).items():
            self.write(name, self.stand_in(text))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def retrain(self, finished: Path) -> None:
        """Let runs/mine be one with a trained model again, where a block that was stood in for has made one without."""
        mine, trained = self.folder / "runs" / "mine", finished / "runs" / "mine"
        if (trained / "models").exists() and not (mine / "models").exists():
            shutil.rmtree(mine, ignore_errors=True)
            shutil.copytree(trained, mine)

    def run(self, command: str) -> None:
        """Run a command to its end. Raises RuntimeError where it fails."""
        begin = re.search(r"^pop init (\S+\.yaml)", command)
        if begin:
            (self.folder / begin[1]).unlink(missing_ok=True)  # whoever begins has none
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if done.returncode not in (0, *((3,) if "--fail-on-regression" in command else ())):
            raise RuntimeError(f"left with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    @contextmanager
    def serving(self, command: str) -> Iterator[None]:
        """Let a command go on that serves something; raises RuntimeError where it prints no address that answers."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as server:
            try:
                assert server.stdout is not None
                found = re.search(r"http://[\d.:]+/(?=$|\?|v1)", server.stdout.readline())
                if found is None:
                    raise RuntimeError("it does not say where it answers")
                with urllib.request.urlopen(found[0] + ("stats" if "simulate" in command else ""), timeout=30):
                    yield
            finally:
                server.terminate()


class Outcome(NamedTuple):
    """What became of one command: `said` is why it was not run, or how it failed, "" where all is well."""

    place: str
    command: str
    seconds: float
    failed: bool
    said: str


def play(page: Path, finished: Path, folder: Path) -> Iterator[Outcome]:
    """Run the commands of a page in `folder`, which is made, and yield what became of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = Place(folder, free.getsockname()[1])
    place.furnish(page, finished)
    wanted = [block for block in blocks(page) if not block.reason]
    own = any(command.startswith("pop simulate --port") for block in wanted for _, command in block.commands)
    with ExitStack() as page_long:
        if not own and wanted:
            page_long.enter_context(place.serving(f"pop simulate --port {place.port} --brief --speedup 1000"))
        for block in blocks(page):
            if not block.reason and MAKES_RUN.search(block.text):
                shutil.rmtree(folder / "runs" / "mine", ignore_errors=True)
            for line, command in block.commands:
                yield tried(place, block, f"{page.relative_to(ROOT)}:{line}", command, page_long)
            place.retrain(finished)


def tried(place: Place, block: Block, where: str, command: str, page_long: ExitStack) -> Outcome:
    """Run one command; a server goes on until `page_long` ends."""
    reason = block.reason or elsewhere(command)
    if reason:
        return Outcome(where, command, 0.0, False, reason)
    began = time.monotonic()
    try:
        if SERVERS.search(command):
            page_long.enter_context(place.serving(place.stand_in(command)))
        else:
            place.run(place.stand_in(command))
    except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
        return Outcome(where, command, time.monotonic() - began, True, str(error))
    return Outcome(where, command, time.monotonic() - began, False, "")


def finish(kind: str, folder: Path) -> Path:
    """Make `folder` with texts, a config and the finished run of it, by the pocket model or the simulated one; return it."""
    place = Place(folder, 0)
    (folder / "texts").mkdir(parents=True)
    documents = [entry for entry in read_documents(PocketCorpus(editions=1)) if isinstance(entry, Document)]
    for number, document in enumerate(documents[:DOCUMENTS]):
        place.write(f"texts/{number}.txt", document.text)
    limits = {role: {"max_tokens": 128} for role in ("proposer", "solver", "rubric_writer", "judge")}
    few: dict[str, object] = {"documents": 24, "candidates": 4, "share_identical": True}
    config: dict[str, object] = {
        "corpus": {"type": "files", "paths": ["texts/"]},
        "filter": {"min_words": 5},
        "model": {"type": kind},
        "measure": {"documents": 8},
    }
    if kind == "pocket":
        dpo = {"learning_rate": 1e-4, "beta": 0.1, "num_train_epochs": 1}
        config |= {"domain": "pocket", "synthesis": {**few, "scoring": "per_criterion", **limits}, "training": {"dpo": dpo}}
    else:
        config |= {"domain": "instruction_following", "synthesis": few, "training": {"type": "none"}}
    place.write("pop.yaml", yaml.safe_dump(config))
    place.run("pop run pop.yaml --out runs/mine")
    return folder


def main(names: list[str]) -> int:
    """Run the pages whose paths end with one of `names`, or all; print what became of each command. 1: one failed."""
    chosen = [page for page in pages() if not names or any(str(page).endswith(name) for name in names)]
    counts = {"ran": 0, "not run": 0, "failed": 0}
    with tempfile.TemporaryDirectory(prefix="pop-docs-") as folder:
        kinds = {START.get(page.name, "pocket") for page in chosen}
        finished = {kind: finish(kind, Path(folder) / f"finished-{kind}") for kind in kinds}
        for number, page in enumerate(chosen):
            for outcome in play(page, finished[START.get(page.name, "pocket")], Path(folder) / str(number)):
                became = "failed" if outcome.failed else "not run" if outcome.said else "ran"
                counts[became] += 1
                said = f"\n{outcome.said}" if outcome.failed else f" ({outcome.said})" if outcome.said else ""
                sys.stdout.write(f"{became:<8}{outcome.seconds:>5.1f} s  {outcome.place}  {outcome.command}{said}\n")
                sys.stdout.flush()
    sys.stdout.write(", ".join(f"{count} {became}" for became, count in counts.items()) + "\n")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
