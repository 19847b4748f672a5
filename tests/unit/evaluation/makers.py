"""Models that answer by a script, data files, and one evaluation around them."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pop_selfplay.evaluation.eval_dir import open_eval_dir
from pop_selfplay.evaluation.evaluate import evaluate
from pop_selfplay.evaluation.specs import EvalSpec, ModelSpec, SuiteEntry
from pop_selfplay.models.base import ChatRequest, Completion


class Player:
    """Answers with `write(last user message)` and remembers every request."""

    name = "player"

    def __init__(self, write: Callable[[str], str]) -> None:
        self._write = write
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)
        return Completion(self._write(request.messages[-1].content), "stop", 10, 5)

    async def close(self) -> None:
        pass


def playing(label: str, write: Callable[[str], str] | Player) -> ModelSpec:
    player = write if isinstance(write, Player) else Player(write)
    return ModelSpec(label, f"scripted-{label}", lambda notice: player)


def write_rows(folder: Path, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write a JSONL data file into `folder` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def run(
    out: Path,
    data: Path | None,
    *choices: str | SuiteEntry,
    model: ModelSpec,
    against: ModelSpec | None = None,
    judge: ModelSpec | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Evaluate `model` on `choices` and return the content of eval.json."""
    chosen = [SuiteEntry(name=choice) if isinstance(choice, str) else choice for choice in choices]
    plan = EvalSpec("test", chosen, model, against, judge, data, limit, seed=3)
    with open_eval_dir(out) as place:
        return asyncio.run(evaluate(plan, place, lambda line: None)).model_dump(mode="json")
