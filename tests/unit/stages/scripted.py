"""A model that answers by a script, and a cast around it."""

import asyncio
import functools
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pop_selfplay.config import Synthesis
from pop_selfplay.domains import load_domain
from pop_selfplay.journal import Journal
from pop_selfplay.journal.schema import connect
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.records import Candidate, Criterion, Document, Problem, Role, Rubric, Token
from pop_selfplay.stages.calls import Cast

T = TypeVar("T")
domain_named = functools.cache(load_domain)

DOCUMENT = Document(id="d1", text="Two drops of valerian calm the heart.", title="Valerian")
PROBLEM = Problem(id="1/d1/0", document_id="d1", text="How much valerian?", reference_answer="Two drops, the book says.")
RUBRIC = Rubric(
    criteria=(
        Criterion(name="dose", description="states the dose", weight=3, gold="two drops"),
        Criterion(name="effect", description="names the effect", weight=1, gold="calms the heart"),
    )
)


class Scripted:
    """Answers with `write(request)`, sure of each letter where probabilities are asked for, and remembers every request."""

    name = "scripted"

    def __init__(self, write: Callable[[ChatRequest], str]) -> None:
        self._write = write
        self.requests: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> Completion:
        self.requests.append(request)
        await asyncio.sleep(0)
        text = self._write(request)
        size = 1 + len(text) // 5000  # a letter each, but for texts of a megabyte
        pieces = [text[i : i + size] for i in range(0, len(text), size)] if request.top_logprobs else []
        tokens = tuple(Token(piece, ((piece, 0.0),)) for piece in pieces)
        return Completion(text, "stop", 10, 5, 0, tokens)

    async def close(self) -> None:
        pass

    def shown(self, role: Role) -> str:
        """Return all that `role` was ever shown."""
        return "\n".join(m.content for r in self.requests if r.role == role for m in r.messages)


def play(
    model: Scripted,
    work: Callable[[Cast], Coroutine[Any, Any, T]],
    journal: Path | str = ":memory:",
    domain: str = "health_care",
    **synthesis: Any,
) -> T:
    """Run `work` with `model` in every role."""
    settings = Synthesis.model_validate({"candidates": 4, **synthesis})
    with _in_memory() if journal == ":memory:" else Journal.open(Path(journal)) as opened:
        cast = Cast(dict.fromkeys(Role, model), domain_named(domain), settings, opened, seed=7)
        return _runner().run(work(cast))


@functools.cache
def _runner() -> asyncio.Runner:
    return asyncio.Runner()


@functools.cache
def _empty() -> bytes:
    with closing(connect(Path(":memory:"))) as db:
        return db.serialize()


def _in_memory() -> Journal:
    """Open an empty journal in memory, copied: to make its tables takes longer than most plays."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.deserialize(_empty())
    return Journal(db, Path(":memory:"))


def candidates(*answers: str) -> tuple[Candidate, ...]:
    return tuple(Candidate(index=n, completion=f"<answer>{a}</answer>", answer=a) for n, a in enumerate(answers))
