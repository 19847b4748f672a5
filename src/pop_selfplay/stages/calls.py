"""How every stage calls its model: one seed per call, several attempts, strict parsing, everything in the journal."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from pop_selfplay.config import Synthesis
from pop_selfplay.domains import Domain
from pop_selfplay.errors import RequestBroken, RequestRefused
from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.method.echo import echo_in
from pop_selfplay.method.expected_rating import compact
from pop_selfplay.method.parsing import Form, Parsed, Rejection
from pop_selfplay.method.rubric_json import JsonSchema
from pop_selfplay.models.base import ChatModel, ChatRequest, Completion, complete_many, constrains
from pop_selfplay.records import Failure, Message, Role
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.refusals import BROKEN, REFUSED, Refusals, broken_note
from pop_selfplay.stages.reuse import Earlier
from pop_selfplay.tasks import together
from pop_selfplay.text.fencing import valid_unicode
from pop_selfplay.text.overlap import NO_BENCHMARKS, BenchmarkIndex

T = TypeVar("T")

_USUAL_EPISODES: Final = 64
_CALLS_WANTED: Final = 3
_ANSWERS_A_CALL: Final = 8
"""Of one prompt. A call is over when its longest answer is: with more at once, one run-away would hold up them all."""

_MOST_CHARACTERS: Final = 2_000_000
"""Of a stored completion: far more than any budget of tokens allows, far less than SQLite holds."""

CLOSING_TAG: Final = {
    Role.PROPOSER: "</answer>",
    Role.SOLVER: "</answer>",
    Role.RUBRIC_WRITER: "</rubric>",
    Role.JUDGE: "</evaluation>",
}
CONSTRAINED: Final = "constrained/"
"""Notes of whether a role's model heeds the forms begin so."""
NO_STOP: Final = "\0"
"""As a question's `stop`: the answer has no closing tag and ends by itself."""


@dataclass(frozen=True)
class Cast:
    """Who plays which role, by which rules, and where every call is written down."""

    models: Mapping[Role, ChatModel]
    domain: Domain
    synthesis: Synthesis
    journal: Journal
    seed: int
    earlier: Earlier | None = None
    benchmarks: BenchmarkIndex = NO_BENCHMARKS
    capacity: int = 0
    """How many completions the roles' models can be asked for at once, 0 where none sets a limit."""
    refusals: Refusals = field(default_factory=Refusals)
    constrained: dict[str, bool] = field(default_factory=dict)
    """Role and model → whether it decodes by a form, as far as it is known."""

    @property
    def episodes_at_once(self) -> int:
        """How many episodes to work on at once: as the run sets it, or else enough that no server ever waits for work.

        An episode that solves or scores has a call open for each candidate, one that proposes or writes its rubric only one.
        Three times as many calls as the servers take leave a queue in front of them, whatever the episodes' stages.
        """
        wanted = self.synthesis.episodes_in_flight
        return wanted or max(_USUAL_EPISODES, math.ceil(_CALLS_WANTED * self.capacity / self.synthesis.candidates_at_once))

    def sees_document(self, role: Role) -> bool:
        return role in self.synthesis.document_for


class Question(NamedTuple):
    """One thing to ask a role. `item` tells apart what is asked of one role in one episode, such as the candidate's number.

    `stop` is the closing tag that ends the answer, where it is not the role's usual one. With a `schema` the answer is bare
    JSON, without tags; without one, `form` is what it must look like, where the run constrains its models. `max_tokens` above 0
    limits an answer that is known to be short, `top_logprobs` asks for probabilities.
    """

    round: int
    episode: str
    role: Role
    item: str
    messages: tuple[Message, ...]
    stop: str = ""
    schema: JsonSchema | None = None
    max_tokens: int = 0
    top_logprobs: int = 0
    form: Form | None = None


async def ask(
    cast: Cast,
    question: Question,
    parse: Callable[[str], Parsed[T] | Rejection],
    *,
    attempts: range | None = None,
    temperature: float | None = None,
) -> T | Failure:
    """Ask until an answer parses or the attempts are used up; then the failure holds the last reason.

    The seed of each call is a hash of run seed, episode, role, item and attempt. `attempts` and `temperature` stand in for the
    role's own settings. A call that the journal already holds for exactly this request is not made again.
    """
    by_text = partial(_by_text, parse)
    return await ask_for_tokens(cast, question, by_text, attempts=attempts, temperature=temperature)


def _by_text(parse: Callable[[str], Parsed[T] | Rejection], completion: Completion) -> Parsed[T] | Rejection:
    return parse(completion.text)


async def ask_for_tokens(
    cast: Cast,
    question: Question,
    parse: Callable[[Completion], Parsed[T] | Rejection],
    *,
    attempts: range | None = None,
    temperature: float | None = None,
) -> T | Failure:
    """Like `ask`, with a `parse` that sees the whole completion, probabilities included."""
    sampling = cast.synthesis.sampling(question.role)
    constrained = await _constrained(cast, question)
    rejection = Rejection("not_asked")
    for attempt in range(sampling.attempts) if attempts is None else attempts:
        key, request = _call(cast, question, attempt, temperature, constrained=constrained)
        try:
            completion = await _completion(cast, key, request)
        except RequestRefused as error:
            return cast.refusals.refused(cast.journal, question.episode, question.role, error)
        parsed = _parse(cast, question.role, parse, completion)
        _record(cast, key, request, completion, _reason(parsed))
        if not isinstance(parsed, Rejection):
            return parsed.value
        rejection = parsed
    return Failure(stage=question.role.value, reason=rejection.reason, detail=rejection.detail)


async def ask_each(
    cast: Cast,
    questions: Sequence[Question],
    parsed_by: Callable[[Question], Callable[[str], Parsed[T] | Rejection]],
    attempt: int,
) -> list[T | Failure]:
    """Ask questions that differ only by their item, once each, and return what became of each one.

    Where the model can, it answers several that are not in the journal in one call. Their answers are then written down
    together or not at all: which text belongs to which question is the model's order, and half of it could not be asked for
    again.
    """
    constrained = bool(questions) and await _constrained(cast, questions[0])
    calls = [_call(cast, question, attempt, constrained=constrained) for question in questions]

    async def some(numbers: Sequence[int]) -> None:
        missing = [n for n in numbers if _known(cast, *calls[n]) is None]
        if missing:
            await _ask_together(cast, [calls[n] for n in missing], [parsed_by(questions[n]) for n in missing])

    # Cut by place, so that a resumed run asks for the same ones together.
    places = range(len(calls))
    await together(some(places[start : start + _ANSWERS_A_CALL]) for start in places[::_ANSWERS_A_CALL])

    async def one(question: Question) -> T | Failure:
        return await ask(cast, question, parsed_by(question), attempts=range(attempt, attempt + 1))

    return await together(map(one, questions))


async def _ask_together(
    cast: Cast, calls: Sequence[tuple[CallKey, ChatRequest]], parsed_by: Sequence[Callable[[str], Parsed[T] | Rejection]]
) -> None:
    """Put the answers to all of `calls` into the journal, by one call to the model; do nothing where it cannot."""
    requests = [request for _, request in calls]
    try:
        completions = await complete_many(cast.models[requests[0].role], requests)
    except RequestRefused:
        return  # one by one the model may answer; else each one is told why not
    if completions is not None:
        cast.refusals.answered(requests[0].group, requests[0].role)
        done: list[tuple[CallKey, StoredCall]] = []
        for (key, request), completion, parse in zip(calls, map(_storable, completions), parsed_by, strict=True):
            parsed = _parse(cast, requests[0].role, partial(_by_text, parse), completion)
            done.append((key, StoredCall(_digest(cast, request), _reason(parsed), completion)))
        cast.journal.record_calls(done)


async def _constrained(cast: Cast, question: Question) -> bool:
    """Tell whether the question is asked with its form: where the run wants that, and the model was seen to heed it.

    What was seen is noted, so that a resumed run asks for the same things.
    """
    if cast.synthesis.constrain == "none" or question.form is None or question.schema is not None:
        return False
    model = cast.models[question.role]
    note = f"{CONSTRAINED}{question.role.value}/{model.name}"
    if note not in cast.constrained:
        noted = cast.journal.noted(note)
        cast.constrained[note] = await constrains(model, question.role) if noted is None else noted == "yes"
        cast.journal.note(note, "yes" if cast.constrained[note] else "no")
    return cast.constrained[note]


def _call(
    cast: Cast, question: Question, attempt: int, temperature: float | None = None, *, constrained: bool
) -> tuple[CallKey, ChatRequest]:
    sampling = cast.synthesis.sampling(question.role)
    heat = sampling.temperature if temperature is None else temperature
    if attempt > 0 and heat == 0:
        heat = sampling.retry_temperature  # a greedy model would only repeat what was just refused
    limits = (sampling.max_tokens, question.max_tokens, sampling.first_tokens if attempt == 0 else None)
    max_tokens = min(limit for limit in limits if limit)
    request = ChatRequest(
        role=question.role,
        messages=question.messages,
        temperature=heat,
        top_p=sampling.top_p,
        max_tokens=max_tokens,
        seed=derive_seed(cast.seed, question.episode, question.role, question.item, attempt),
        stop=_stop(question),
        group=question.episode,
        schema=question.schema,
        top_logprobs=question.top_logprobs,
        form=question.form.within(max_tokens) if constrained and question.form is not None else None,
    )
    return CallKey(question.round, question.episode, question.role.value, question.item, attempt), request


def _reason(parsed: Parsed[Any] | Rejection) -> str:
    if isinstance(parsed, Rejection):
        return parsed.reason
    return "repaired" if parsed.repaired else ""


def _stop(question: Question) -> str:
    if question.schema is not None or question.stop == NO_STOP:
        return ""
    return question.stop or CLOSING_TAG[question.role]


def _parse(
    cast: Cast, role: Role, parse: Callable[[Completion], Parsed[T] | Rejection], completion: Completion
) -> Parsed[T] | Rejection:
    """Return what `parse` makes of a completion, unless it only echoes the prompt: this is where every role's is refused."""
    parsed = parse(completion)
    if completion.finish_reason == "length" and (isinstance(parsed, Rejection) or parsed.open_ended):
        why = parsed.reason if isinstance(parsed, Rejection) else "no_tag"
        return Rejection("cut_off", f"broken off after {completion.generated_tokens} tokens ({why})")
    if isinstance(parsed, Rejection):
        return parsed
    return echo_in(parsed.value, completion.text, cast.domain.fixed_text(role)) or parsed


async def _completion(cast: Cast, key: CallKey, request: ChatRequest) -> Completion:
    known = _known(cast, key, request)
    if known is not None:
        return known
    note = broken_note(_digest(cast, request))
    if (words := cast.journal.noted(note)) is not None:
        raise RequestBroken(words)
    try:
        completion = await cast.models[request.role].complete(request)
    except RequestBroken as error:
        cast.journal.note(note, str(error))
        raise
    cast.refusals.answered(request.group, request.role)
    return _storable(completion)


def _known(cast: Cast, key: CallKey, request: ChatRequest) -> Completion | None:
    """Return the answer that the journal holds for exactly this request, or else the one to be taken over from another run."""
    stored = cast.journal.find_call(key)
    if stored is not None and stored.digest == _digest(cast, request):
        return stored.completion
    return None if cast.earlier is None else cast.earlier.completion(key)


def _storable(completion: Completion) -> Completion:
    """Replay must see the very text that was parsed now, so what no database can hold is replaced or cut before parsing."""
    whole = len(completion.text) <= _MOST_CHARACTERS
    return Completion(
        valid_unicode(completion.text[:_MOST_CHARACTERS]),
        completion.finish_reason if whole else "length",
        completion.prompt_tokens,
        completion.generated_tokens,
        completion.cached_tokens,
        compact(completion.tokens),
    )


def _record(cast: Cast, key: CallKey, request: ChatRequest, completion: Completion, reason: str) -> None:
    stored = cast.journal.find_call(key)
    call = StoredCall(_digest(cast, request), reason, completion)
    if stored != call:
        cast.journal.record_call(key, call)


def _digest(cast: Cast, request: ChatRequest) -> str:
    model = cast.models[request.role].name
    settings = (model, request.temperature, request.top_p, request.max_tokens, request.seed, request.stop)
    text = repr(settings) + "".join(f"\0{message.role}\0{message.content}" for message in request.messages)
    if request.schema is not None:
        text += f"\0schema\0{json.dumps(request.schema)}"
    if request.form is not None:
        text += f"\0form\0{json.dumps(request.form)}"
    if request.top_logprobs:
        text += f"\0top_logprobs\0{request.top_logprobs}"
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def server_failure(role: Role, outcomes: Sequence[object], missing: float) -> Failure | None:
    """Return the failure of a group that lacks `missing` outcomes, where those are what the server refused; else None."""
    refused = [failure for failure in outcomes if isinstance(failure, Failure) and failure.reason in (REFUSED, BROKEN)]
    if not refused or len(refused) < missing:
        return None
    reason = BROKEN if all(failure.reason == BROKEN for failure in refused) else REFUSED
    return Failure(stage=role.value, reason=reason, detail=refused[-1].detail)
