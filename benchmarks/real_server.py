"""Tokens a second that `pop synth` gets out of a real vLLM, over those that vLLM's own serving benchmark gets out of it.

    python benchmarks/real_server.py --model DIR --vllm EXECUTABLE [--args "…"] [--env "NAME=VALUE …"] [--documents 6]
        [--candidates 4] [--at-once 16] [--repeats 3] [--json benchmarks/results/real_server.json]

Starts the server once, without its prefix cache, so that both sides cost it the same. Each repeat plays a synthesis on texts
(data/prompt_documents.yaml), with constrained forms where the server can, and then has `vllm bench serve` ask for as many
completions with the very same numbers of prompt tokens and of generated tokens, as many at once. What is compared is generated
tokens per second, of the whole time from the first call to the last answer, within one repeat: other work on the machine slows
both sides.
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
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import yaml
from transformers import AutoTokenizer

from pop_selfplay.config import RunConfig, VllmModel, parse_config
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
            "synthesis": {"documents": args.documents, "candidates": args.candidates, "constrain": "auto", **roles},
            "measure": {"type": "none"},
            "training": {"type": "none"},
        }
    )


def played(config: RunConfig, run: Path) -> tuple[float, list[tuple[int, int]]]:
    """Play a synthesis; return the seconds it took, and prompt and generated tokens of every completion."""
    with open_session(run, config) as session:
        began = time.monotonic()
        play_synthesis(session)
        seconds = time.monotonic() - began
    with closing(sqlite3.connect(run / "run.db")) as db:
        calls = db.execute("SELECT episode, role, prompt_tokens, generated_tokens FROM calls ORDER BY episode, role, item")
        prompts: dict[tuple[str, str], int] = {}
        found = []
        for episode, role, prompt, generated in calls:
            # The prompt of several answers in one call is counted with the first of them.
            prompts[episode, role] = prompt or prompts.get((episode, role), 1)
            found.append((prompts[episode, role], generated))
    return seconds, found


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


async def measured(args: argparse.Namespace, folder: Path) -> list[dict[str, float]]:
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    texts = folder / "texts"
    texts.mkdir()
    for number, entry in enumerate(yaml.safe_load(DATA.read_text(encoding="utf-8"))[DOMAIN]):
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
            seconds, lengths = await asyncio.to_thread(played, config_of(url, texts, args, repeat), place / "run")
            ours = sum(generated for _, generated in lengths) / seconds
            theirs = await asyncio.to_thread(benchmarked, url, lengths, tokenizer, place, args)
            found.append({"pop": ours, "vllm_bench": theirs, "ratio": ours / theirs, "completions": len(lengths)})
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
    parser.add_argument("--documents", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=16, help="completions in flight, on both sides and in the server")
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
