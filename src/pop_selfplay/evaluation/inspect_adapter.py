"""inspect_ai at work for us: our models as its models, one task at a time in our event loop, and what came out of it.

Batching, retries, limits, seeds and the journal are ours; prompts, solvers, scorers and logs are inspect's. A call that fails
for good (ModelRefused, ModelUnavailable, a full disk) stops the evaluation with that error; a refused request costs its sample.
"""

import asyncio
import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from inspect_ai import Task, eval_async
from inspect_ai.log import EvalLog, EvalSample, read_eval_log_async
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util._display import init_display_type

from pop_selfplay.errors import ConfigError, ModelError, PopError, RequestRefused
from pop_selfplay.evaluation.benchmarks.base import GREEDY, Decoding, Setup, Tasks
from pop_selfplay.evaluation.eval_dir import CachedModel
from pop_selfplay.method.parsing import Rejection, cut_reasoning
from pop_selfplay.records import Completion, Message


class PopAPI(ModelAPI):
    """`pop/<label>` in inspect's logs: a CachedModel as a model of inspect_ai."""

    def __init__(self, model_name: str, recorded: CachedModel, defaults: Decoding) -> None:
        super().__init__(model_name)
        self._recorded, self._defaults = recorded, defaults
        self.fatal: PopError | None = None

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Answer a conversation of texts. What `config` leaves open is decided by the defaults."""
        if self.fatal is not None:
            raise self.fatal
        try:
            done = await self._recorded.complete(
                tuple(_message(message) for message in input),
                temperature=_or(config.temperature, self._defaults.temperature),
                top_p=_or(config.top_p, self._defaults.top_p),
                max_tokens=_or(config.max_tokens, self._defaults.max_tokens),
                stop=(config.stop_seqs or [""])[0],
            )
        except RequestRefused:
            raise
        except PopError as error:
            self.fatal = error
            raise
        return _output(self.model_name, done)

    def max_connections(self) -> int:
        """Return how many calls inspect may have under way here; the model itself bounds what is really sent."""
        return self._recorded.spec.in_flight


def inspect_model(recorded: CachedModel, defaults: Decoding = GREEDY) -> Model:
    """Return `recorded` as a model of inspect_ai."""
    made = modelapi(name="pop")(PopAPI)(recorded.spec.label, recorded=recorded, defaults=defaults)
    return Model(made, GenerateConfig())


class Ran(NamedTuple):
    """One finished task: its samples with their scores, and where the log is."""

    samples: Sequence[EvalSample]
    log: str


def build_task(tasks: Tasks, setup: Setup) -> Task:
    """Return the task of a benchmark. Raises ConfigError when its data is in another format, or cannot be fetched."""
    try:
        return tasks.make_task(setup)
    except (OSError, httpx.HTTPError) as error:  # what the loaders of hubs and of files at an address raise
        raise ConfigError(
            f"the data of benchmark {setup.benchmark.name} cannot be loaded ({type(error).__name__}: {error}): "
            "check the network, or put the file into a directory and name that with --data-dir"
        ) from error


async def run_task(
    task: Task, model: Model, judge: Model | None, decoding: Decoding, *, limit: int | None, seed: int, logs: Path
) -> Ran:
    """Run `task` on `model` and return what came out. With `limit`, on that many items, drawn by `seed`.

    Raises the error with which a model failed for good, ModelError when inspect_ai could not run the task.
    """
    init_display_type("none")  # the progress is ours to show
    with _level_kept(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="inspect_ai")
        # In a task of its own: inspect_ai keeps an interrupt to itself, and takes back the request that its task be cancelled.
        running = asyncio.create_task(
            eval_async(
                task,
                model=model,
                model_roles={"grader": judge} if judge is not None else None,
                epochs=decoding.epochs,
                limit=limit,
                sample_shuffle=seed if limit is not None else None,
                log_dir=str(logs),
                log_level="error",
                log_realtime=False,
                fail_on_error=False,
                score_display=False,
                acp_server=False,
                ctl_server=False,
                max_samples=model.api.max_connections(),
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_tokens=decoding.max_tokens,
            )
        )
        ran = await running
    for used in (model, judge):
        if used is not None and used.api.fatal is not None:
            raise used.api.fatal
    ours = asyncio.current_task()
    if not ran or ran[0].status == "cancelled" or (ours is not None and ours.cancelling()):
        raise asyncio.CancelledError
    log = ran[0]
    if log.status != "success":
        raise ModelError(f"inspect_ai ended with status {log.status}: {_why(log)}; the log is {log.location}")
    # The samples of `log` load themselves when touched, by an event loop within ours, for which asyncio would be patched.
    whole = await read_eval_log_async(log.location)
    return Ran(whole.samples or [], log.location)


@contextlib.contextmanager
def _level_kept() -> Iterator[None]:
    """Keep the level of all logging: inspect_ai sets it for the whole process, which would hide everybody's warnings."""
    level = logging.getLogger().level
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)


def _why(log: EvalLog) -> str:
    return str(log.error.message) if log.error is not None else "no reason given"


def _or(given: Any, default: Any) -> Any:
    return default if given is None else given


def _message(message: ChatMessage) -> Message:
    if message.role == "tool":
        raise RequestRefused("a tool message cannot be sent to this model: it only takes text")
    return Message(role=message.role, content=message.text)


def _output(name: str, done: Completion) -> ModelOutput:
    """Return a completion as inspect has it, with the reasoning apart: scorers must see the answer only.

    Reasoning that was cut off before its end is followed by no answer, whatever it had come to.
    """
    answer = cut_reasoning(done.text)
    text = "" if isinstance(answer, Rejection) else answer
    content: Any = text
    if text != done.text:
        thought = done.text.removesuffix(text).replace("<think>", "", 1).removesuffix("</think>").strip()
        content = [ContentReasoning(reasoning=thought), ContentText(text=text.strip())]
    output = ModelOutput.from_message(
        ChatMessageAssistant(content=content, model=name, source="generate"),
        stop_reason="max_tokens" if done.finish_reason == "length" else "stop",
    )
    output.model = name
    output.usage = ModelUsage(
        input_tokens=done.prompt_tokens,
        output_tokens=done.generated_tokens,
        total_tokens=done.prompt_tokens + done.generated_tokens,
        input_tokens_cache_read=done.cached_tokens,
    )
    return output
