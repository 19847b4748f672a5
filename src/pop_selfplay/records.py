"""The nouns of the method, as frozen types. Everything that is stored, passed between stages or exported is one of these.

A new record goes here when two rooms need it; a type that only one room needs stays in that room.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, Field

REFERENCE: Final = -1
"""Stands for the reference answer where a candidate's index is asked for."""


class Record(BaseModel):
    """Base of all records: immutable, strict about unknown fields, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Role(enum.StrEnum):
    """The four parts one model plays (method, "One episode")."""

    PROPOSER = "proposer"
    SOLVER = "solver"
    RUBRIC_WRITER = "rubric_writer"
    JUDGE = "judge"


class Message(Record):
    """One turn of a conversation, in the OpenAI chat format."""

    role: Literal["system", "user", "assistant"]
    content: str


def content_text(content: object) -> str:
    """Return the text of a message's content as other programs write it: a text, None, or a list of parts.

    Text parts are joined, thinking parts left out. Raises TypeError for a part of any other kind, such as an image.
    """
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list | tuple) else [content]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, Mapping) else part
        if isinstance(text, str):
            texts.append(text)
        elif not (isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning")):
            raise TypeError(f"content must be a text or a list of text parts, not {part!r:.80}")
    return "".join(texts)


class Token(NamedTuple):
    """One generated token, and how likely others were in its place.

    `alternatives` are texts with their natural log-probabilities under the model (temperature 1), most probable first; the
    token itself is among them when it is one of the most probable.
    """

    text: str
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote. Token counts are the backend's own; `cached_tokens` of the prompt were not recomputed.

    `tokens` are there only where the request asked for probabilities. Joined they are the text, but for white space and for
    what a backend added or cut off at the stop.
    """

    text: str
    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    generated_tokens: int
    cached_tokens: int = 0
    tokens: tuple[Token, ...] = ()


class Document(Record):
    """One raw text. `id` is stable across runs; `title` may be empty; `source` says where it was read.

    `license`, `url` and `origin` are what its row in the corpus has as `license`, `url` and `source`, "" where it has none.
    """

    id: str
    text: str
    title: str = ""
    source: str = ""
    license: str = ""
    url: str = ""
    origin: str = ""


class Shard(NamedTuple):
    """A part of every round's documents: the `number`-th of `shards` parts, from 1, as even as whole numbers allow."""

    number: int
    shards: int

    def part_of(self, total: int) -> range:
        """Return which of `total` documents, by their place in the choice from 0, belong to it."""
        return range((self.number - 1) * total // self.shards, self.number * total // self.shards)

    def __str__(self) -> str:
        return f"{self.number}/{self.shards}"


class Problem(Record):
    """A self-contained task made from a document, with the reference answer that the document supports."""

    id: str
    document_id: str
    text: str
    reference_answer: str


class Candidate(Record):
    """One answer to a problem. `completion` is all the solver wrote, `answer` the part inside its answer tag."""

    index: int = Field(ge=REFERENCE, description="−1 where the reference answer stands in a candidate's place")
    completion: str
    answer: str


class Criterion(Record):
    """One thing a good answer must show. `gold` is what the document says about it, or "Not applicable"."""

    name: str
    description: str
    weight: float = Field(gt=0)
    gold: str


class Rubric(Record):
    """One to five criteria with unique names (method, "write rubric")."""

    criteria: tuple[Criterion, ...] = Field(min_length=1)

    @property
    def total_weight(self) -> float:
        return sum(criterion.weight for criterion in self.criteria)


class Rating(Record):
    """The judge's verdict on one criterion for one candidate: 0 bad, 1 medium, 2 good, with the thoughts behind it."""

    criterion: str
    rating: float = Field(ge=0, le=2, description="a mean where the judge voted, or was asked for probabilities")
    thoughts: str = ""


class Comparison(Record):
    """The judge's verdict on one candidate beside another, the mean over both orders (and all votes) of what it said.

    What a score means is the scoring mode's: judging/comparing.py.
    """

    against: int = Field(ge=0, description="index of the other candidate")
    score: float = Field(ge=-10, le=10)


class Evaluation(Record):
    """What the judge made of one candidate, and the score that follows. What is filled goes by the scoring mode (judging/).

    | the mode | fills | score |
    | --- | --- | --- |
    | rates candidates by themselves | `ratings`, one for each criterion | Σ weight·rating / Σ weight, in [0, 2] |
    | compares candidates | `comparisons`, those that are valid | their mean, in [−10, 10]; it belongs to the group |
    | asks nobody | neither | in [0, 2] |

    `verified` tells, where the domain has one final answer, whether the candidate's is the reference's; else it is None.
    """

    candidate: int = Field(ge=REFERENCE, description="the candidate's index; −1 for the reference answer")
    ratings: tuple[Rating, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    score: float = Field(ge=-10, le=10)
    verified: bool | None = None


class Failure(Record):
    """Why something was lost: at which stage, for which reason (a short stable word), with the detail for a reader."""

    stage: str
    reason: str
    detail: str = ""


class Episode(Record):
    """One problem played to its end: scored candidates, or the failure that ended it. `id` is also the problem's id."""

    id: str
    round: int = Field(ge=0, description="0: held out for measurement")
    document_id: str
    problem: Problem | None = None
    candidates: tuple[Candidate, ...] = ()
    rubric: Rubric | None = None
    evaluations: tuple[Evaluation, ...] = ()
    reference_evaluation: Evaluation | None = None
    failure: Failure | None = None


class PreferencePair(Record):
    """The better of two completions against the worse, ready for training. Conversations are lists of messages.

    A solver's pair is the best candidate of a group against its worst, with their scores. A proposer's is two problems of one
    document, with the standard deviation of each one's normalised scores, in [0, 0.5], as its score; reference answer and
    problem are the chosen one's.
    """

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    chosen_score: float
    rejected_score: float
    reference_answer: str
    document_id: str
    problem_id: str
    round: int
    role: Literal["solver", "proposer"] = Field("solver", description="whose completions these are")
    license: str = Field("", description="licence of its document, as its row in the corpus says")
    url: str = Field("", description="where its document comes from")
    source: str = Field("", description="what its document was taken from, as its row says")


class Step(Protocol):
    """A logged step of any training: the how manieth of how many, from 1, and what it shows, for people."""

    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def told(self) -> str: ...


class TrainingStep(NamedTuple):
    """One logged step of DPO. Rewards are β·(log p − log p_reference), means over the pairs since the step logged before."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    reward_accuracy: float
    reward_margin: float

    @property
    def told(self) -> str:
        return f"loss {self.loss:.4f}, pairs in order {self.reward_accuracy:.0%}"


class SFTStep(NamedTuple):
    """One logged step of supervised fine-tuning, means over the tokens of the answers since the step logged before.

    `loss` is in nats per token; `token_accuracy` the share of tokens that the model finds likelier than any other.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    token_accuracy: float

    @property
    def told(self) -> str:
        return f"loss {self.loss:.4f}, tokens right {self.token_accuracy:.0%}"


class OnlineStep(NamedTuple):
    """One logged step of online RL, means over what was sampled since the step logged before.

    `reward` is None where the judge failed on every answer; `kl` is the divergence from the starting model in nats per token,
    None where the reference model is not there (beta 0).
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    reward: float | None
    reward_std: float | None
    kl: float | None

    @property
    def told(self) -> str:
        kl = "" if self.kl is None else f", KL {self.kl:.4f}"
        return f"reward {'?' if self.reward is None else f'{self.reward:.3f}'}{kl}"
