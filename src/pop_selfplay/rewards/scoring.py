"""Score sampled answers by their problems' rubrics: the async core of online RL and of `pop_selfplay.reward`.

A frozen judge is a function of problem and answer, so a call is kept under a number made of the answer's text: whoever asks for
the same answer to the same problem again, in a later step or after a kill, gets the evaluation from the journal.

Where the rubric of a sampled answer comes from:

| given | found by |
| --- | --- |
| a column `rubric` | the JSON in it; the problem is the column `problem`, else the text of the prompt |
| a run directory, or a mapping from problem ids | the column `problem_id`, else the prompt that the solver was asked with |

At the end: figures of a batch of rewards, and signs that the reward is being gamed.
"""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from pop_selfplay.domains import Domain
from pop_selfplay.episode import rate_each
from pop_selfplay.errors import UsageError, validation_text
from pop_selfplay.judging import by_itself
from pop_selfplay.method.echo import ECHO, echo_in, repeats_problem
from pop_selfplay.method.json_output import folded
from pop_selfplay.method.parsing import Parsed, Rejection, parse_answer
from pop_selfplay.method.rewards import INVALID_SCORE, Sample, Shaping, shaped
from pop_selfplay.records import (
    Candidate,
    Episode,
    Evaluation,
    Failure,
    Message,
    PreferencePair,
    Problem,
    Role,
    Rubric,
    content_text,
)
from pop_selfplay.seeds import derive_seed
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stats.comparisons import pearson
from pop_selfplay.tasks import together
from pop_selfplay.text.fencing import valid_unicode
from pop_selfplay.text.words import count_words, split_words


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
    ended: Sequence[bool] | None = None,
) -> list[Sample]:
    """Return what became of each completion, an answer to the problem at the same place of `asked`, in order.

    All calls are made at once, within the judge's own limit, and are kept in the journal as of the episode `under` + problem
    id. `ended` tells which completions the model ended by itself; without it, all. A completion that does not parse, or only
    echoes its prompt or problem, scores `INVALID_SCORE` without a call. Where the judge fails, score and reward are None, and
    the reason is in `Sample.reason`. In modes that compare the answers of a group, each is rated by itself instead: a win rate
    belongs to its group, and could not be kept. Raises ModelError when the judge cannot be reached, UsageError where a rubric
    is missing.
    """
    cast = _by_itself(cast)
    whole = [True] * len(completions) if ended is None else ended
    answers = [
        _own_answer(cast, graded.problem, completion, done)
        for graded, completion, done in zip(asked, completions, whole, strict=True)
    ]
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


def _own_answer(cast: Cast, problem: Problem, completion: str, whole: bool) -> Parsed[str] | Rejection:
    answer = parse_answer(completion, tagged=cast.synthesis.solver.answer_tag, boxed=cast.domain.boxed)
    if isinstance(answer, Rejection):
        return answer
    if answer.open_ended and not whole:
        return Rejection("cut_off", "nothing shows that the answer was at its end")
    if repeats_problem(answer.value, problem.text):
        return Rejection(ECHO, "the answer is the problem again")
    said = Candidate(index=0, completion=completion, answer=answer.value)
    return echo_in(said, completion, cast.domain.fixed_text(Role.SOLVER)) or answer


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


ABOUT_THE_PAIR = ("no_spread", "length_gap")
"""Why an episode gives no pair although its problem and rubric are sound: it can still be trained on online."""


class Rubrics:
    """The problems that are known beforehand, by id and by the conversation that the solver is asked with."""

    def __init__(self, known: Iterable[Graded], domain: Domain) -> None:
        self._by_id = {graded.problem.id: graded for graded in known}
        self._by_prompt = {
            _key(_plain(domain.render("solve", problem=graded.problem.text))): graded for graded in self._by_id.values()
        }

    def find(self, prompts: Sequence[Any], columns: Mapping[str, Any]) -> list[Graded]:
        """Return problem and rubric of each sample; `columns` hold one value for each, as a trainer hands them over.

        Raises UsageError when a sample's rubric cannot be told.
        """
        count = len(prompts)
        rubrics, ids, problems, references = (
            _column(columns, name, count) for name in ("rubric", "problem_id", "problem", "reference_answer")
        )
        found = []
        for prompt, rubric, id_, problem, reference in zip(prompts, rubrics, ids, problems, references, strict=True):
            if rubric is not None:
                found.append(_given(prompt, rubric, id_, problem, reference))
                continue
            known = self._by_id.get(id_) if id_ is not None else self._by_prompt.get(_key(prompt))
            if known is None:
                raise UsageError(
                    f"no rubric for a sample (problem_id {id_!r}, prompt {_text_of(prompt)!r:.120}): give the dataset a column "
                    "rubric (pop export --format grpo writes one), or make the reward from the run that its problems come from"
                )
            found.append(known)
        return found


class Sound(NamedTuple):
    """A finished episode whose problem and rubric can be trained on."""

    episode: Episode
    graded: Graded


def sound(episodes: Iterable[tuple[Episode, PreferencePair | Failure]]) -> Iterable[Sound]:
    """Yield, of finished episodes and what pairing made of them, those that online RL can use.

    Used are all whose candidates were scored, but for what pairing drops for the problem's sake: a problem that nearly repeats
    another one, say. Candidates that are all alike are no reason: the policy that is trained will answer otherwise.
    """
    for episode, made in episodes:
        if episode.failure is not None or episode.problem is None:
            continue
        if isinstance(made, Failure) and made.reason not in ABOUT_THE_PAIR:
            continue
        yield Sound(episode, Graded(episode.problem, episode.rubric))


def _given(prompt: Any, rubric: Any, id_: Any, problem: Any, reference: Any) -> Graded:
    try:
        parsed = read_rubric(rubric)
    except (TypeError, ValueError) as error:
        what = validation_text(error) if isinstance(error, ValidationError) else str(error)
        raise UsageError(
            f"column rubric is not a rubric ({what}): {rubric!r:.200}. Needed is JSON like "
            '{"criteria": [{"name": …, "description": …, "weight": 1, "gold": …}]}'
        ) from error
    text = str(problem) if problem is not None else _text_of(prompt)
    # Without an id the problem is told from others by what is asked and how it is scored.
    name = str(id_) if id_ is not None else f"{derive_seed(text, str(rubric)):016x}"
    return Graded(Problem(id=name, document_id="", text=text, reference_answer=str(reference or "")), parsed)


def read_rubric(value: Any) -> Rubric | None:
    """Return the rubric in plain data or JSON text: {"criteria": […]}, or the list alone. None where it is empty.

    Raises ValueError, as ValidationError for a field of it, where it is none: not even where two criteria share a name.
    """
    data = json.loads(value) if isinstance(value, str) and value.strip() else value
    if data is None or data == [] or isinstance(data, str):  # the exports write "" where answers are verified
        return None
    rubric = Rubric.model_validate({"criteria": data} if isinstance(data, list) else data)
    names = [criterion.name for criterion in rubric.criteria]
    if len(set(map(folded, names))) < len(names):
        raise ValueError(f"two criteria have the same name: {names}")
    return rubric


def _column(columns: Mapping[str, Any], name: str, count: int) -> Sequence[Any]:
    values = columns.get(name)
    return values if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == count else [None] * count


def _plain(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _key(prompt: Any) -> str:
    """Return what two equal conversations, or two equal texts, have in common."""
    return (
        prompt if isinstance(prompt, str) else "\0".join(f"{turn['role']}\0{content_text(turn['content'])}" for turn in prompt)
    )


def _text_of(prompt: Any) -> str:
    if isinstance(prompt, str):
        return valid_unicode(prompt)
    return valid_unicode(next((content_text(turn["content"]) for turn in reversed(prompt) if turn["role"] == "user"), ""))


_WORDS_PER_PHRASE: Final = 4


def group_figures(groups: Sequence[Sequence[float | None]]) -> dict[str, float]:
    """Return mean and spread of the rewards within groups, None being no reward: what GRPO's advantages are made of.

    `reward` is the mean over groups of a group's mean, `reward_std` that of its standard deviation (n − 1), and `no_spread` the
    share of groups with fewer than two rewards or all of them alike, which teach nothing. Groups without a reward have no mean.
    """
    valid = [[reward for reward in group if reward is not None] for group in groups]
    rated = [group for group in valid if group]
    spreads = [statistics.stdev(group) for group in valid if len(group) > 1]
    figures = {"no_spread": sum(len(set(group)) < 2 for group in valid) / len(valid)}
    if rated:
        figures["reward"] = statistics.fmean(statistics.fmean(group) for group in rated)
    if spreads:
        figures["reward_std"] = statistics.fmean(spreads)
    return figures


def signs(groups: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Return signs of a reward that is being gamed, over all scored samples.

    `words` and `repetition` are means; `words_reward` and `repetition_reward` are the correlations of each with the reward,
    both as differences from the group's mean, so that problems which ask for long answers are no sign. A correlation is left
    out where one side does not vary.
    """
    scored = [[sample for sample in group if sample.reward is not None] for group in groups]
    flat = [sample for group in scored for sample in group]
    if not flat:
        return {}
    rewards = _centred([[float(sample.reward or 0.0) for sample in group] for group in scored])
    figures = {}
    for name, measure in (("words", word_count), ("repetition", repetition)):
        values = [[measure(sample.completion) for sample in group] for group in scored]
        figures[name] = statistics.fmean(value for group in values for value in group)
        related = pearson(_centred(values), rewards)
        if related is not None:
            figures[f"{name}_reward"] = related
    return figures


def word_count(text: str) -> float:
    return float(count_words(text))


def repetition(text: str) -> float:
    """Return the share of four-word phrases of `text` that it has said before, in [0, 1)."""
    words = split_words(text)
    phrases = Counter(tuple(words[start : start + _WORDS_PER_PHRASE]) for start in range(len(words) - _WORDS_PER_PHRASE + 1))
    return 1 - len(phrases) / phrases.total() if phrases else 0.0


def _centred(groups: Sequence[Sequence[float]]) -> list[float]:
    return [value - statistics.fmean(group) for group in groups for value in group]
