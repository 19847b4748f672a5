"""Whether a GPU writes what the CPU writes: greedy completions of the pocket model on both, and how many are equal.

    python benchmarks/gpu_generation.py [--questions N] [--json FILE]

In 32 bits both should agree but for ties that rounding decides; in bf16 some texts part ways at a close call. Each text is
compared as a whole, and by the share of its characters before the first difference. Without a GPU the CPU is compared with
itself, so that this file cannot rot.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from pop_selfplay.config import LocalModel
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.local import LocalChatModel
from pop_selfplay.pocket.world import World
from pop_selfplay.records import Message, Role


def requests(count: int) -> list[ChatRequest]:
    """Return greedy requests for answers to questions on the pocket world."""
    world = World()
    texts = [question.text for question in world.exam(world.self_play, 1, seed=0)][:count]
    return [ChatRequest(Role.SOLVER, (Message(role="user", content=text),), 0.0, 1.0, 200, 0, "</answer>") for text in texts]


def written(device: str, dtype: str, asked: list[ChatRequest]) -> tuple[list[str], float]:
    """Return the texts and how many tokens a second they took."""

    async def run() -> tuple[list[str], float]:
        model = LocalChatModel(LocalModel.model_validate({"path": str(POCKET_WEIGHTS), "device": device, "dtype": dtype}))
        try:
            await model.complete(asked[0])  # the first call warms up
            began = time.monotonic()
            found = await asyncio.gather(*map(model.complete, asked))
            return [one.text for one in found], sum(one.generated_tokens for one in found) / (time.monotonic() - began)
        finally:
            await model.close()

    return asyncio.run(run())


def alike(one: str, other: str) -> float:
    """Return the share of the longer text that both begin with, in [0, 1]."""
    same = (a == b for a, b in zip(one, other, strict=False))
    return sum(itertools.takewhile(bool, same)) / max(len(one), len(other), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=100 if torch.cuda.is_available() else 4)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    asked = requests(args.questions)
    expected, speed = written("cpu", "float32", asked)
    found: dict[str, Any] = {"texts": len(asked), "cpu_tokens_per_s": speed}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in ("float32", "bfloat16"):
        texts, speed = written(device, dtype, asked)
        pairs = list(zip(expected, texts, strict=True))
        found[f"{device}_{dtype}"] = {
            "equal": sum(a == b for a, b in pairs) / len(pairs),
            "alike": sum(alike(a, b) for a, b in pairs) / len(pairs),
            "tokens_per_s": speed,
        }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
