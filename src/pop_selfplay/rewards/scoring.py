"""Score sampled answers by their problems' rubrics: the async core of online RL and of `pop_selfplay.reward`.

A frozen judge is a function of problem and answer, so a call is kept under a number made of the answer's text: whoever asks for
the same answer to the same problem again, in a later step or after a kill, gets the verdict from the journal.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from pop_selfplay.episode import rate_each
from pop_selfplay.errors import UsageError
from pop_selfplay.judging import by_itself
from pop_selfplay.method.parsing import Rejection, parse_answer
from pop_selfplay.method.rewards import INVALID_SCORE, Sample, Shaping, shaped
from pop_selfplay.records import Candidate, Evaluation, Failure, Problem, Rubric
from pop_selfplay.stages.calls import Cast
from pop_selfplay.tasks import together


class Graded(NamedTuple):
    """A problem and the rubric that its answers are scored by; None only where the answers are verified (scoring `verify`)."""

    problem: Problem
    rubric: Rubric | None


async def score_answers(
    cast: Cast,
    asked: Sequence[Graded],
    completions: Sequence[str],
    round_: int = 1,
    *,
    shaping: Shaping | None = None,
    under: str = "train/",
) -> list[Sample]:
    """Return what became of each completion, an answer to the problem at the same place of `asked`, in order.

    All calls are made at once, within the judge's own limit, and are kept in the journal as of the episode `under` + problem
    id. A completion that does not parse scores `INVALID_SCORE` without a call. Where the judge fails, score and reward are
    None, and the reason is in `Sample.reason`. In modes that compare the answers of a group, each is rated by itself instead: a
    win rate belongs to its group, and could not be kept. Raises ModelError when the judge cannot be reached, UsageError
    where a rubric is missing.
    """
    cast = _by_itself(cast)
    answers = [parse_answer(completion) for completion in completions]
    wanted: dict[str, tuple[Graded, set[str]]] = {}
    for graded, answer in zip(asked, answers, strict=True):
        if graded.rubric is None and cast.synthesis.mode.needs_rubric:
            raise UsageError(
                f"problem {graded.problem.id} has no rubric to score by: give it one, or verify the answers (scoring verify)"
            )
        if not isinstance(answer, Rejection):
            wanted.setdefault(graded.problem.id, (graded, set()))[1].add(answer.value)
    outcomes = await together(
        _scores(cast, graded, sorted(texts), round_, f"{under}{id_}") for id_, (graded, texts) in wanted.items()
    )
    scores = dict(zip(wanted, outcomes, strict=True))
    shaping = shaping or Shaping()
    samples = []
    for graded, completion, answer in zip(asked, completions, answers, strict=True):
        if isinstance(answer, Rejection):
            reward = shaped(INVALID_SCORE, completion, shaping, parses=False)
            samples.append(Sample(completion, None, INVALID_SCORE, reward, answer.reason))
            continue
        outcome = scores[graded.problem.id][answer.value]
        if isinstance(outcome, Failure):
            samples.append(Sample(completion, answer.value, None, None, outcome.reason))
        else:
            reward = shaped(outcome.score, completion, shaping, parses=True)
            samples.append(Sample(completion, answer.value, outcome.score, reward))
    return samples


def answer_number(answer: str) -> int:
    """Return the candidate's number that stands for `answer`, from its text alone, below 2**48."""
    return int.from_bytes(hashlib.blake2b(answer.encode("utf-8", "replace"), digest_size=6).digest())


async def _scores(
    cast: Cast, graded: Graded, texts: Iterable[str], round_: int, episode: str
) -> dict[str, Evaluation | Failure]:
    """Return the judge's verdict on each of `texts`, distinct answers to one problem."""
    problem = graded.problem.model_copy(update={"id": episode})
    candidates = [Candidate(index=answer_number(text), completion=text, answer=text) for text in texts]
    outcomes = await rate_each(cast, problem, graded.rubric, candidates, candidates, round_)
    return {candidate.answer: outcome for candidate, outcome in zip(candidates, outcomes, strict=True)}


def _by_itself(cast: Cast) -> Cast:
    mode = by_itself(cast.synthesis.mode)
    if mode is cast.synthesis.mode:
        return cast
    return replace(cast, synthesis=cast.synthesis.changed({"scoring": mode.name, "early_stop": None}))
