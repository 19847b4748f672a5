"""`pop_selfplay.reward`: the rubric as a reward function for other people's trainers, and the judge it asks.

The judge is for the reward alone: which model, by which prompts and settings, where its calls are kept. A trainer is
synchronous, and a notebook or another trainer may already run a loop in the calling thread. So the judge lives in an event loop
in a thread of its own: `Bridge`. Models, clients and the journal belong to the loop and thread they were opened in; they are
opened there with the first work, and kept until `close`.
"""

import asyncio
import concurrent.futures
import math
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, Synthesis, complaints
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.errors import ConfigError, ModelRefused, UsageError
from pop_selfplay.journal import Journal
from pop_selfplay.judging import by_itself, find_mode
from pop_selfplay.method.rewards import Sample, Shaping
from pop_selfplay.models import open_model
from pop_selfplay.models.endpoint.probe import served_models
from pop_selfplay.pairing import paired
from pop_selfplay.records import Role, content_text
from pop_selfplay.rewards.scoring import Graded, Rubrics, score_answers, sound
from pop_selfplay.runs.session import Session, read_session
from pop_selfplay.stages.calls import Cast
from pop_selfplay.text.fencing import valid_unicode

C = TypeVar("C")
T = TypeVar("T")


class Bridge(Generic[C]):
    """Works on what `opened` yields. It is entered in the thread, with the first work, and left by `close`."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[C]], *, name: str) -> None:
        self._opened = opened
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening = asyncio.Lock()
        self._inside: list[C] = []  # what `opened` yielded, once it has
        self._stack = AsyncExitStack()
        self._closed = False

    def submit(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> "concurrent.futures.Future[T]":
        """Begin `work` in the thread and return at once. What opening and work raise is raised by the future.

        Raises RuntimeError once closed.
        """
        with self._lock:  # until the work is in the loop's hands: `close` then finds and cancels it
            if self._closed:
                raise RuntimeError("this judge was closed: make a new reward")
            return asyncio.run_coroutine_threadsafe(self._do(work), self._loop or self._start())

    def run(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        """Do `work` in the thread and return what it returns. An interrupt while waiting cancels it."""
        future = self.submit(work)
        try:
            return future.result()
        finally:
            future.cancel()  # nothing happens to one that is done

    def close(self) -> None:
        """Cancel what still goes on, leave what was opened, and end the thread. Idempotent."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._leave(), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _start(self) -> asyncio.AbstractEventLoop:
        self._loop = asyncio.new_event_loop()
        # A daemon: a judge that nobody closed must not keep the interpreter from ending.
        self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
        self._thread.start()
        return self._loop

    async def _do(self, work: Callable[[C], Coroutine[Any, Any, T]]) -> T:
        async with self._opening:
            if not self._inside:
                self._inside.append(await self._stack.enter_async_context(self._opened()))
        return await work(self._inside[0])

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._stack.aclose()


IN_MEMORY: Final = Path(":memory:")
"""A journal that lives as long as the reward."""
_ANY_MODEL: Final[TypeAdapter[ModelConfig]] = TypeAdapter(ModelConfig)


class Judging(NamedTuple):
    """How answers are judged: by whom, with which prompts, mode and sampling."""

    judge: ModelConfig
    domain: Domain
    synthesis: Synthesis
    seed: int


@asynccontextmanager
async def open_judge(judging: Judging, journal: Path) -> AsyncIterator[Cast]:
    """Yield a cast of the judge alone, its calls kept in `journal`. Raises ModelRefused when it cannot be opened."""
    model = open_model(judging.judge)
    try:
        with Journal.open(journal) as kept:
            yield Cast({Role.JUDGE: model}, judging.domain, judging.synthesis, kept, judging.seed)
    finally:
        await model.close()


def judge_config(judge: ModelConfig | Mapping[str, Any] | str) -> ModelConfig:
    """Return the config of `judge`: itself, the same as plain data, the address of a server, or the path of a model.

    A server that is given by its address is asked which model it serves. Raises ConfigError for anything else, or where it
    serves several; ModelUnavailable when it does not answer, ModelRefused when it lists no models.
    """
    if isinstance(judge, str):
        if judge.startswith(("http://", "https://")):
            return EndpointModel(base_url=judge, model=_served(judge))
        return LocalModel(path=judge)
    if not isinstance(judge, Mapping):
        return judge
    try:
        return _ANY_MODEL.validate_python(dict(judge))
    except ValidationError as error:
        raise ConfigError(f"judge {dict(judge)!r:.200} is not a model config: {complaints(error, ModelConfig)[0]}") from error


def _served(address: str) -> str:
    """Return the name of the one model behind `address`."""
    try:
        names = [model.name for model in served_models(address)]
    except ModelRefused as error:
        error.add_note(f"give the judge as {_AS_DATA}")
        raise
    if len(names) != 1:
        raise ConfigError(f"{address} serves {len(names)} models ({', '.join(names)}): give the judge as {_AS_DATA}")
    return names[0]


_AS_DATA: Final = '{"type": "endpoint", "base_url": …, "model": …}'


GENERAL_DOMAIN: Final = "instruction_following"


class RubricReward:
    """A reward function: scores sampled answers by their problems' rubrics. Make one with `reward`; close it when done.

    The judge is opened with the first call, in a thread of its own, and answers all calls of a batch at once. Any thread may
    call it, also one that runs an event loop.
    """

    __name__ = "rubric"  # what TRL logs it as

    def __init__(
        self,
        rubrics: Rubrics,
        opened: Callable[[], AbstractAsyncContextManager[Cast]],
        shaping: Shaping = Shaping(),  # noqa: B008  # immutable
        *,
        round_: int = 1,
    ) -> None:
        self._rubrics = rubrics
        self._shaping = shaping
        self._round = round_
        self._bridge = Bridge(opened, name="pop judge")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """Return the reward of each completion, None where the judge failed: TRL's signature of a reward function.

        `prompts` and `completions` are texts or conversations; `columns` are the other columns of the dataset, one value for
        each completion (see `scoring.py` for those that are used), and whatever else the trainer passes. With TRL's
        `log_metric` among them, shares of failures and invalid answers are logged. Raises UsageError when a rubric is missing,
        ModelError when the judge cannot be reached.
        """
        samples = self.samples(prompts, completions, **columns)
        log = columns.get("log_metric")
        if callable(log):
            log("rubric/judge_failures", sum(sample.score is None for sample in samples) / len(samples))
            log("rubric/invalid", sum(sample.answer is None for sample in samples) / len(samples))
        return [sample.reward for sample in samples]

    def samples(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Sample]:
        """Return the same with everything behind it: answer, score, reward and the reason where there is none."""
        asked = self._asked(prompts, completions, columns)
        return self._bridge.run(partial(self._scored, asked, completions))

    async def score_answers(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[Sample]:
        """Return what `samples` does, from any event loop and without blocking it."""
        asked = self._asked(prompts, completions, columns)
        return await asyncio.wrap_future(self._bridge.submit(partial(self._scored, asked, completions)))

    def close(self) -> None:
        """Free the judge and end its thread. Idempotent."""
        self._bridge.close()

    def __enter__(self) -> "RubricReward":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(self, prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any]) -> list[Graded]:
        if len(prompts) != len(completions):
            raise UsageError(f"{len(completions)} completions for {len(prompts)} prompts: give one completion for each prompt")
        return self._rubrics.find(prompts, columns)

    async def _scored(self, asked: Sequence[Graded], completions: Sequence[Any], cast: Cast) -> list[Sample]:
        texts = [text_of(completion) for completion in completions]
        return await score_answers(cast, asked, texts, self._round, shaping=self._shaping)


def text_of(completion: Any) -> str:
    """Return what a completion says: the text itself, or that of the last turn of the conversation, whose parts are joined.

    Raises UsageError where it is neither.
    """
    if isinstance(completion, str):
        return valid_unicode(completion)
    try:
        return valid_unicode(content_text(completion[-1]["content"]))
    except (TypeError, KeyError, IndexError) as error:
        raise UsageError(
            f"a completion must be a text, or a conversation whose last message has content, not {completion!r:.120} "
            f"({type(error).__name__}: {error})"
        ) from error


def reward(
    rubrics: str | PathLike[str] | Mapping[str, Graded] | None = None,
    *,
    judge: ModelConfig | Mapping[str, Any] | str | None = None,
    domain: str | None = None,
    scoring: str | None = None,
    max_tokens: int | None = None,
    format_reward: float = 0.0,
    length_penalty: float = 0.0,
    journal: str | PathLike[str] | None = None,
) -> RubricReward:
    """Return a reward function that scores sampled answers by rubrics, for TRL's GRPOTrainer or any other trainer.

    `rubrics` is a run directory, a mapping from problem id to problem and rubric, or None where the dataset has a column
    `rubric`. `judge` is a model config (also as plain data), the address of a server up to /v1, or the path of a local model;
    for a run it is the run's own judge unless given. `domain`, `scoring` (pointwise or per_criterion; verify for problems with
    one final answer) and `max_tokens` of a judgement are the run's, else instruction_following, pointwise and 4096.

    The reward is the score, 0 to 2; plus `format_reward` if the answer parses, minus `length_penalty` for every 100 words. An
    answer that does not parse scores 0. Where the judge fails it is None. Never sum it with another reward function in TRL:
    that one alone would then be the reward of samples whose judge failed.

    The same answer to the same problem is judged once. Verdicts are kept in memory, or in the file `journal`, where a later
    training finds them again. Raises UsageError or ConfigError for a request that makes no sense.
    """
    for name, weight in (("format_reward", format_reward), ("length_penalty", length_penalty)):
        if not (math.isfinite(weight) and weight >= 0):
            raise UsageError(f"{name} {weight} must be a finite number of at least 0")
    if scoring is not None:
        find_mode(scoring)  # before any domain is read: the mode of an installed package brings its prompts
    known: Iterable[Graded] = ()
    judging: Judging | None = None
    if isinstance(rubrics, Mapping):
        known = rubrics.values()
    elif rubrics is not None:
        known, judging = read_session(Path(rubrics), _of_run)
    judging = _with(judging, judge, domain, scoring, max_tokens)
    opened = partial(open_judge, judging, IN_MEMORY if journal is None else Path(journal))
    return RubricReward(Rubrics(known, judging.domain), opened, Shaping(format_reward, length_penalty))


def _of_run(session: Session) -> tuple[list[Graded], Judging]:
    """Return the problems of all finished episodes of a run, and how it judges."""
    config = session.config
    made = paired(session.journal, config.rounds, session.domain, config.pairing, config.seed)
    graded = [found.graded for found in sound(made)]
    if not graded:
        raise UsageError(
            f"{session.directory.path} has no finished episode with a rubric: continue with `pop run {session.directory.path}`"
        )
    judge = config.teachers.get(Role.JUDGE, config.model)
    return graded, Judging(judge, session.domain, config.synthesis, config.seed)


def _with(
    run: Judging | None,
    judge: ModelConfig | Mapping[str, Any] | str | None,
    domain: str | None,
    scoring: str | None,
    max_tokens: int | None,
) -> Judging:
    """Return the run's way of judging with what was given over it."""
    if judge is None and run is None:
        raise UsageError("judge is missing: give a model config, the address of a server up to /v1, or the path of a model")
    synthesis = _synthesis(Synthesis() if run is None else run.synthesis, scoring, max_tokens)
    judged_by = load_domain(domain or GENERAL_DOMAIN) if run is None or domain is not None else run.domain
    judged_by.require(prompt.name for prompt in by_itself(synthesis.mode).prompts)
    return Judging(
        judge=run.judge if judge is None and run is not None else judge_config(judge or ""),
        domain=judged_by,
        synthesis=synthesis,
        seed=0 if run is None else run.seed,
    )


def _synthesis(base: Synthesis, scoring: str | None, max_tokens: int | None) -> Synthesis:
    judge = base.judge.model_dump() | ({} if max_tokens is None else {"max_tokens": max_tokens})
    given = {"judge": judge} | ({} if scoring is None else {"scoring": scoring})
    try:
        return Synthesis.model_validate(base.model_dump() | given)
    except ValidationError as error:
        raise ConfigError("; ".join(complaints(error, Synthesis))) from error
