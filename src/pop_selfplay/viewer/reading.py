"""One episode with everything around it: its document, pair, calls, and the prompts as they were filled.

Prompts are not stored. They are made again by playing the episode's own stages on what the journal holds, with models that say
nothing and write down what they are asked; a call whose digest is the journal's was asked exactly that.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pop_selfplay.episode import rate, rate_reference
from pop_selfplay.errors import PopError
from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.pairing import pair_of, pick_extremes
from pop_selfplay.records import Completion, Criterion, Document, Episode, Evaluation, Failure, Message, PreferencePair, Role
from pop_selfplay.runs.session import Session, watch_again, watch_session
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import CONSTRAINED, Cast
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric
from pop_selfplay.text.overlap import normalised_words


class Run:
    """A run directory that is looked at. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the run once, to see that it can be read. Raises ConfigError and JournalError where it cannot."""
        self.path = path
        with watch_session(path) as session:
            self.session = session

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @contextmanager
    def look(self) -> Iterator[Session]:
        """Open the journal for one page."""
        with watch_again(self.session) as session:
            yield session


class Called(NamedTuple):
    """One finished call: what it was for, what came of it, its seed, and its cost where the model has prices."""

    key: CallKey
    call: StoredCall
    seed: int
    money: float | None


class Deciding(NamedTuple):
    """A criterion that tells chosen and rejected apart: by how much of the whole score, in [−2, 2]."""

    criterion: Criterion
    chosen: float
    rejected: float
    share: float


@dataclass(frozen=True)
class Shown:
    """A finished episode as its page shows it. Texts are as they were written; nothing in them is trusted."""

    session: Session
    episode: Episode
    document: Document

    @cached_property
    def made(self) -> PreferencePair | Failure:
        """The pair that the episode gives by itself, or why it gives none."""
        return pair_of(self.episode, self.session.domain, self.session.config.pairing, self.session.config.seed)

    @cached_property
    def calls(self) -> list[Called]:
        """All calls of the episode, by role and item."""
        seed, casting = self.session.config.seed, self.session.casting
        found = []
        for key, call in self.session.journal.calls(self.episode.id):
            prices = casting.prices(key.round, Role(key.role))
            done = call.completion
            money = None if prices is None else prices.money(done.prompt_tokens, done.cached_tokens, done.generated_tokens)
            found.append(Called(key, call, derive_seed(seed, key.episode, key.role, key.item, key.attempt), money))
        return found

    @cached_property
    def evaluations(self) -> dict[int, Evaluation]:
        """Candidate → its evaluation, −1 being the reference answer, the best candidate first."""
        found = sorted(self.episode.evaluations, key=lambda evaluation: (-evaluation.score, evaluation.candidate))
        reference = self.episode.reference_evaluation
        return {evaluation.candidate: evaluation for evaluation in (*found, *([reference] if reference else []))}

    def answer(self, candidate: int) -> str:
        """Return a candidate's answer, the reference answer for −1."""
        if candidate < 0:
            return "" if self.episode.problem is None else self.episode.problem.reference_answer
        return next((c.answer for c in self.episode.candidates if c.index == candidate), "")

    @cached_property
    def extremes(self) -> tuple[int, int] | None:
        """The best and the worst scored candidate, also where they are no pair; None where all are alike."""
        picked = pick_extremes(
            self.episode.candidates,
            self.episode.evaluations,
            min_std=1e-9,
            max_word_difference=None,
            seed=self.session.config.seed,
        )
        return None if isinstance(picked, Failure) else (picked.chosen.index, picked.rejected.index)

    @cached_property
    def deciding(self) -> list[Deciding]:
        """The criteria by which best and worst differ, the one that matters most first."""
        if self.extremes is None or self.episode.rubric is None:
            return []
        best, worst = (
            {rating.criterion: rating.rating for rating in self.evaluations[index].ratings} for index in self.extremes
        )
        total = self.episode.rubric.total_weight
        found = [
            Deciding(c, best[c.name], worst[c.name], c.weight * (best[c.name] - worst[c.name]) / total)
            for c in self.episode.rubric.criteria
            if c.name in best and c.name in worst
        ]
        return sorted((one for one in found if one.share), key=lambda one: -abs(one.share))


def show(session: Session, id_: str) -> Shown | None:
    """Return an episode of the run by its id, None where no such episode is finished."""
    round_ = session.journal.round_of(id_)
    if round_ is None:
        return None
    episode = session.journal.episode(round_, id_)
    return Shown(session, episode, session.journal.document(round_, episode.document_id))


class Filled(NamedTuple):
    """What a model was asked in one call. `exact` tells that the call's digest says so, too."""

    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    max_tokens: int
    exact: bool


def filled(shown: Shown, called: Called) -> Filled | None:
    """Return what was asked in a call of the episode; None where it cannot be made again."""
    found = _asked(shown, Role(called.key.role))
    request, digest = found.get((called.key.role, called.key.item, called.key.attempt), (None, ""))
    if request is None:
        return None
    exact = digest == called.call.digest
    return Filled(request.messages, request.temperature, request.top_p, request.max_tokens, exact)


Asked = dict[tuple[str, str, int], tuple[ChatRequest, str]]
"""(role, item, attempt) → the request and its digest."""


class _Mute:
    """A model that answers nothing and remembers what it was asked."""

    def __init__(self, name: str, heard: dict[int, ChatRequest]) -> None:
        self.name, self._heard = name, heard

    async def complete(self, request: ChatRequest) -> Completion:
        self._heard[request.seed] = request
        return Completion("", "stop", 0, 0)

    async def close(self) -> None:
        """There is nothing to free."""


def _asked(shown: Shown, role: Role) -> Asked:
    """Return everything that the stage of `role` asks in the episode, all attempts included."""
    session, episode = shown.session, shown.episode
    heard: dict[int, ChatRequest] = {}
    with Journal.open(Path(":memory:")) as journal:
        players = session.casting.players(session.casting.policies(max(1, episode.round)))
        models = {each: _Mute(player.name, heard) for each, player in players.items()}
        for who, heeded in session.journal.noted_under(CONSTRAINED).items():  # what was decoded by a form is asked for with it
            journal.note(f"{CONSTRAINED}{who}", heeded)
        cast = Cast(models, session.domain, session.config.synthesis, journal, session.config.seed)
        try:
            asyncio.run(_stage(cast, shown, role))
        except PopError:
            return {}  # a prompt that the domain lacks
        seed = session.config.seed
        calls = journal.calls(episode.id)
    found: Asked = {}
    for key, call in calls:
        request = heard.get(derive_seed(seed, key.episode, key.role, key.item, key.attempt))
        if request is not None:
            found[key.role, key.item, key.attempt] = (request, call.digest)
    return found


async def _stage(cast: Cast, shown: Shown, role: Role) -> None:
    episode, document = shown.episode, shown.document
    if role is Role.PROPOSER:
        await propose(cast, document, episode.round, episode.id)
    elif role is Role.SOLVER and episode.problem is not None:
        await solve(cast, episode.problem, episode.round)
    elif role is Role.RUBRIC_WRITER and episode.problem is not None:
        first = [c for c in episode.candidates if c.index < cast.synthesis.candidates_at_once]
        await write_rubric(cast, document, episode.problem, first, episode.round)
    elif role is Role.JUDGE and episode.problem is not None:
        await rate(cast, episode.problem, episode.rubric, episode.candidates, episode.round)
        if episode.rubric is not None and cast.synthesis.score_reference:
            await rate_reference(cast, episode.problem, episode.rubric, episode.candidates, episode.round)


class Sentence(NamedTuple):
    """A sentence of a document, and the numbers (from 1) of the criteria whose gold answers rest on it."""

    text: str
    golds: tuple[int, ...]


def supported(document: str, golds: Sequence[str]) -> list[Sentence]:
    """Return the document's sentences, each with the gold answers that rest on it: it has most of their words.

    A word counts by how few sentences have it, one that the document lacks counts not at all; a gold answer of which it has
    less than a third rests on nothing, and so does "". Joined, the sentences are the document.
    """
    sentences = re.findall(r".+?(?:[.!?。！？]+[\"”’)]*(?:\s+|$)|\n+|$)", document, re.DOTALL)
    bags = [set(normalised_words(sentence)) for sentence in sentences]
    common = Counter(word for bag in bags for word in bag)
    resting: dict[int, list[int]] = {}
    for number, gold in enumerate(golds, 1):
        words = set(normalised_words(gold))
        known = {word: 1 / common[word] for word in words if word in common}
        shares = [sum(known[word] for word in bag & known.keys()) for bag in bags]
        if known and 3 * len(known) >= len(words) and max(shares) >= sum(known.values()) / 2:
            resting.setdefault(shares.index(max(shares)), []).append(number)
    return [Sentence(sentence, tuple(resting.get(place, ()))) for place, sentence in enumerate(sentences)]


class Said(NamedTuple):
    """A completion, with its reasoning apart."""

    reasoning: str
    rest: str


def parted(completion: str) -> Said:
    """Return the reasoning of a completion, up to its last closing tag, and what follows."""
    reasoning, closing, rest = completion.rpartition("</think>")
    return Said(reasoning + closing, rest)
