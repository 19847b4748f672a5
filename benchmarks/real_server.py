"""Tokens a second that `pop synth` gets out of a real vLLM, over those that vLLM's own serving benchmark gets out of it.

    python benchmarks/real_server.py --model DIR --vllm EXECUTABLE [--args "…"] [--env "NAME=VALUE …"] [--documents 24]
        [--candidates 4] [--at-once 6] [--constrain none] [--repeats 3] [--json benchmarks/results/real_server.json]

Starts the server once, without its prefix cache, so that both sides cost it the same. Each repeat plays a synthesis on texts
(data/prompt_documents.yaml), and then has `vllm bench serve` ask for as many completions with the very same numbers of prompt
tokens and of generated tokens, as many at once. What is compared is generated tokens per second, of the whole time from the
first call to the last answer, within one repeat: other work on the machine slows both sides. Calls that failed count with the
others: a small model may write nothing that keeps its form, and then the mix is that of the roles which were asked. Constrained
forms (`--constrain auto`) cost the server work that its benchmark does not ask for.
"""

import argparse
import asyncio
import json
import os
import random
import shlex
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from transformers import AutoTokenizer

from pop_selfplay.config import RunConfig, VllmModel, parse_config
from pop_selfplay.errors import NothingMade
from pop_selfplay.models.vllm_server.process import VllmProcess
from pop_selfplay.runs.session import open_session
from pop_selfplay.selfplay import play_synthesis

DATA: Final = Path(__file__).parent / "data" / "prompt_documents.yaml"
NAME: Final = "served"
DOMAIN: Final = "instruction_following"
LIMITS: Final = {"proposer": 200, "solver": 160, "rubric_writer": 250, "judge": 160}
WORDS: Final = "moss fern lichen heath bog peat sedge reed alder birch rowan ash elm yew oak".split()


def config_of(url: str, texts: Path, args: argparse.Namespace, seed: int) -> RunConfig:
    """Return a run of synthesis alone. Two attempts of each call: a small model that fails must not be asked for ever."""
    roles = {role: {"max_tokens": tokens, "attempts": 2} for role, tokens in LIMITS.items()}
    return parse_config(
        {
            "domain": DOMAIN,
            "seed": seed,
            "corpus": {"type": "files", "paths": [str(texts)]},
            "filter": {"min_words": 10},
            "model": {"type": "endpoint", "base_url": url, "model": NAME, "max_in_flight": args.at_once},
            "synthesis": {"documents": args.documents, "candidates": args.candidates, "constrain": args.constrain, **roles},
            "measure": {"type": "none"},
            "training": {"type": "none"},
        }
    )


@dataclass(frozen=True)
class Played:
    """What a synthesis took: its seconds, prompt and generated tokens of every completion, and how many each role made."""

    seconds: float
    lengths: list[tuple[int, int]]
    roles: dict[str, int]


def played(config: RunConfig, run: Path) -> Played:
    with open_session(run, config) as session:
        began = time.monotonic()
        with suppress(NothingMade):  # the calls were made all the same
            play_synthesis(session)
        seconds = time.monotonic() - began
    with closing(sqlite3.connect(run / "run.db")) as db:
        calls = db.execute("SELECT episode, role, prompt_tokens, generated_tokens FROM calls ORDER BY episode, role, item")
        prompts: dict[tuple[str, str], int] = {}
        lengths, roles = [], Counter[str]()
        for episode, role, prompt, generated in calls:
            # The prompt of several answers in one call is counted with the first of them.
            prompts[episode, role] = prompt or prompts.get((episode, role), 1)
            lengths.append((prompts[episode, role], generated))
            roles[role] += 1
    return Played(seconds, lengths, dict(roles))


def benchmarked(url: str, lengths: list[tuple[int, int]], tokenizer: Any, folder: Path, args: argparse.Namespace) -> float:
    """Return the tokens per second by vLLM's benchmark for completions of these lengths."""
    rng, lines = random.Random(0), []
    for prompt, generated in lengths:
        ids = tokenizer(" ".join(rng.choices(WORDS, k=prompt)), add_special_tokens=False)["input_ids"][:prompt]
        lines.append(json.dumps({"prompt": tokenizer.decode(ids), "output_tokens": max(1, generated)}))
    (folder / "lengths.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [
        *(args.vllm, "bench", "serve", "--backend", "openai", "--base-url", url.removesuffix("/v1")),
        *("--endpoint", "/v1/completions", "--model", args.model, "--served-model-name", NAME, "--tokenizer", args.model),
        *("--dataset-name", "custom", "--dataset-path", str(folder / "lengths.jsonl"), "--custom-output-len", "-1"),
        *("--skip-chat-template", "--ignore-eos", "--num-prompts", str(len(lines)), "--max-concurrency", str(args.at_once)),
        *("--save-result", "--result-dir", str(folder), "--result-filename", "result.json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=args.environment, check=False)
    if done.returncode:
        raise SystemExit(f"vllm bench serve ended with code {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return float(json.loads((folder / "result.json").read_text(encoding="utf-8"))["output_throughput"])


async def measured(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = folder / "texts"
    texts.mkdir()
    entries = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    for number, entry in enumerate(entry for domain in entries.values() for entry in domain):
        (texts / f"{number:02}.txt").write_text(entry["text"], encoding="utf-8")
    served = {"path": args.model, "executable": args.vllm, "env": args.variables}
    served["args"] = [*shlex.split(args.args), "--no-enable-prefix-caching", "--max-num-seqs", str(args.at_once)]
    server = VllmProcess(VllmModel.model_validate(served), NAME, folder)
    found = []
    try:
        await server.start()
        url = f"http://127.0.0.1:{server.port}/v1"
        for repeat in range(args.repeats):
            place = folder / str(repeat)
            place.mkdir()
            run = await asyncio.to_thread(played, config_of(url, texts, args, repeat), place / "run")
            ours = sum(generated for _, generated in run.lengths) / run.seconds
            theirs = await asyncio.to_thread(benchmarked, url, run.lengths, tokenizer, place, args)
            found.append({"pop": ours, "vllm_bench": theirs, "ratio": ours / theirs, "completions": run.roles})
            sys.stdout.write(f"{json.dumps(found[-1])}\n")
            sys.stdout.flush()
    finally:
        await server.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model directory or hub name")
    parser.add_argument("--vllm", default="vllm", help="the vllm executable")
    parser.add_argument("--args", default="", help="further arguments of vllm serve")
    parser.add_argument("--env", default="", help="environment variables of the server, NAME=VALUE")
    parser.add_argument("--documents", type=int, default=24)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--constrain", choices=("none", "auto"), default="none")
    parser.add_argument("--at-once", type=int, default=6, help="completions in flight, on both sides and in the server")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.variables = dict(pair.split("=", 1) for pair in shlex.split(args.env))
    args.environment = None if not args.variables else os.environ | args.variables
    with tempfile.TemporaryDirectory() as folder:
        repeats = asyncio.run(measured(args, Path(folder)))
    found = {"model": Path(args.model).name, "repeats": repeats, "ratio": statistics.median(one["ratio"] for one in repeats)}
    sys.stdout.write(f"ratio {found['ratio']:.3f}, median of {len(repeats)}\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
