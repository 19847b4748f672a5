"""The directory of an evaluation or a duel: a lock, a journal of every finished call, the logs and the figures.

calls.db    the journal: the same tables as a run's, so a killed evaluation repeats no finished call
logs/       logs of inspect_ai, one for each benchmark and model (`inspect view --log-dir …`)
eval.json, duel.json   the figures
items.jsonl the duel, prompt by prompt

`CachedModel` answers from that journal where it can: what was answered once is never asked again, whoever asks. Its callers are
inspect_ai's solvers and scorers. They say neither which item a call is for nor which of its repeats, so a call goes by its
content: the k-th call with the same content is the same call in every session.
"""

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pop_selfplay.evaluation.specs import ModelSpec
from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.journal.files import explain, take_lock
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, Notice
from pop_selfplay.records import Message, Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.text.fencing import valid_unicode

JOURNAL_NAME: Final = "calls.db"
SECONDS_BETWEEN_LINES: Final = 15.0


@dataclass(frozen=True)
class EvalDir:
    """An open directory. Make one with `open_eval_dir`."""

    path: Path
    journal: Journal

    @property
    def logs(self) -> Path:
        return self.path / "logs"


@contextlib.contextmanager
def open_eval_dir(path: Path) -> Iterator[EvalDir]:
    """Open the directory at `path`, made where it is missing, and hold its lock.

    Raises JournalError when another process works there, or the place cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(error, path, "make the directory") from error
    with take_lock(path / "evaluation.lock"), Journal.open(path / JOURNAL_NAME) as journal:
        yield EvalDir(path, journal)


@contextlib.asynccontextmanager
async def reporting(say: Callable[[], None], seconds: float = SECONDS_BETWEEN_LINES) -> AsyncIterator[None]:
    """Call `say` every so often while the block runs: whoever waits for hours must see that something happens."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(seconds)
            say()

    ticker = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticker.cancel()


ROUND = 0


class CachedModel:
    """Answers from `journal` where it can, else from the model, which is opened only then, and writes the answer down."""

    def __init__(self, spec: ModelSpec, role: Role, journal: Journal, seed: int, notice: Notice) -> None:
        """`role` is what the model does here: solver for who is measured, judge for who judges. `notice`: as models say."""
        self.spec = spec
        self.answered = 0
        self._model: ChatModel | None = None
        self._role, self._journal, self._seed, self._notice = role, journal, seed, notice
        self._work = ""
        self._asked: Counter[str] = Counter()

    def begin(self, work: str) -> None:
        """Begin some `work`, a benchmark: calls and their repeats are told apart by it, whatever was or was not done before."""
        self._work, self.answered = work, 0
        self._asked.clear()

    async def complete(
        self, messages: tuple[Message, ...], *, temperature: float, top_p: float, max_tokens: int, stop: str = ""
    ) -> Completion:
        """Answer one conversation. The seed follows from the content and from how often it was asked before in this session.

        Raises what the model raises: ModelRefused, RequestRefused, ModelUnavailable.
        """
        said = [(message.role, message.content) for message in messages]
        settings = [self._work, temperature, top_p, max_tokens, stop, *said]
        content = hashlib.blake2b(json.dumps(settings).encode("utf-8", "backslashreplace"), digest_size=12).hexdigest()
        repeat = self._asked[content]
        self._asked[content] += 1
        key = CallKey(ROUND, self.spec.identity, self._role.value, content, repeat)
        seed = derive_seed(self._seed, self._role, content, repeat)
        digest = f"{content}-{seed:016x}"
        stored = self._journal.find_call(key)
        if stored is not None and stored.digest == digest:
            self.answered += 1
            return stored.completion
        self._model = self._model or self.spec.open(self._notice)
        request = ChatRequest(self._role, messages, temperature, top_p, max_tokens, seed, stop, group=content)
        made = await self._model.complete(request)
        text = valid_unicode(made.text)
        done = Completion(text, made.finish_reason, made.prompt_tokens, made.generated_tokens, made.cached_tokens)
        self._journal.record_call(key, StoredCall(digest, "", done))
        self.answered += 1
        return done

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()
