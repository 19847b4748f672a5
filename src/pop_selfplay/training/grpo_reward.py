"""The frozen judge of an online training, open for as long as it takes, and the reward function that asks it.

A second judge (`training.second_judge`), and the truth where it is known, are only compared with it: `ScoredBatch.audits`.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from pop_selfplay.config import GRPOTraining
from pop_selfplay.method.rewards import Sample, Shaping
from pop_selfplay.models.chat_template import after_opened_reasoning
from pop_selfplay.pocket.world import knows_truth, truth_score
from pop_selfplay.records import Role
from pop_selfplay.rewards.rubric_reward import Bridge, text_of
from pop_selfplay.rewards.scoring import Graded, score_answers
from pop_selfplay.runs.session import Session
from pop_selfplay.stages.calls import Cast
from pop_selfplay.tasks import together
from pop_selfplay.training.callbacks import OnlineWatch, Sampled, ScoredBatch

SECOND_JUDGE: Final = "second_judge"
TRUTH: Final = "truth"

Score = Callable[[Sequence[Graded], Sequence[str]], ScoredBatch]
"""(problems with their rubrics, completions), one of each per answer → what became of them."""


class RubricRewards:
    """The reward function of the trainer: answers to `score`, and what came of them to the watch and into TRL's log."""

    __name__ = "rubric"  # what TRL logs it as

    def __init__(self, problems: Mapping[str, Graded], score: Score, watch: OnlineWatch) -> None:
        self._problems, self._score, self._watch = problems, score, watch
        self._ends: frozenset[int] = frozenset()
        self._mask_cut_off = self._in_reasoning = False

    def know_ends(self, ends: Iterable[int], *, mask_cut_off: bool, in_reasoning: bool = False) -> None:
        """Say by which token an answer ends that was not cut off, whether TRL masks one that was, and whether prompts open the
        reasoning: an answer which never leaves it is none.
        """
        self._ends, self._mask_cut_off, self._in_reasoning = frozenset(ends), mask_cut_off, in_reasoning

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        problem_id: Sequence[str],
        trainer_state: Any,
        log_metric: Callable[[str, float], None],
        generated: Sequence[int] | None = None,
        **_: Any,  # the other things that TRL hands over
    ) -> list[float | None]:
        """Return the reward of each completion, None where the judge failed or the answer is masked.

        `generated` is how many tokens of each the model wrote, where that is not all of them.
        """
        texts = [text_of(completion) for completion in completions]
        if self._in_reasoning:
            texts = list(map(after_opened_reasoning, texts))
        judged = self._score([self._problems[id_] for id_ in problem_id], texts)
        samples = [
            sample if ids[-1] in self._ends else self._cut_off(sample)
            for sample, ids in zip(judged.samples, completion_ids, strict=True)
        ]
        tokens = [len(ids) for ids in completion_ids] if generated is None else generated
        made = Sampled(trainer_state.global_step + 1, problem_id, samples, tokens, judged.audits)
        for name, value in self._watch.sampled(made).items():
            log_metric(name, value)
        return [sample.reward for sample in samples]

    def _cut_off(self, sample: Sample) -> Sample:
        """An answer that was cut off does not parse for that reason; and where TRL masks it, it must not move its group."""
        if sample.answer is None:
            sample = sample._replace(reason="cut_off")
        return sample._replace(reward=None) if self._mask_cut_off else sample


@contextlib.contextmanager
def judge_of(session: Session, round_: int, config: GRPOTraining) -> Iterator[Score]:
    """Yield the scoring of answers in `round_`: the judge is who judged its synthesis, and stays as it is.

    It works in a thread of its own, with a journal connection of its own, and is opened with the first answers.
    """
    bridge = Bridge(partial(_judges, session, round_, config), name="pop judge")
    shaping = Shaping(config.format_reward, config.length_penalty)

    def score(asked: Sequence[Graded], completions: Sequence[str]) -> ScoredBatch:
        judged = bridge.run(partial(_score, asked, completions, round_, shaping))
        session.casting.refresh()
        if knows_truth(session.config.corpus):
            pairs = zip(asked, judged.samples, strict=True)
            judged.audits[TRUTH] = [truth_score(graded.problem, sample.answer or "") for graded, sample in pairs]
        return judged

    try:
        yield score
    finally:
        bridge.close()


@contextlib.asynccontextmanager
async def _judges(session: Session, round_: int, config: GRPOTraining) -> AsyncIterator[dict[str, Cast]]:
    """Yield the casts of all judges, by what their scores are called; the one that makes the reward is "judge"."""
    with session.directory.journal() as journal:  # a journal belongs to the thread that opened it
        own = session.casting.copy(journal=journal)
        policies, meter = {Role.JUDGE: own.policies(round_)[Role.JUDGE]}, own.account.meter()
        async with contextlib.AsyncExitStack() as stack:
            casts = {Role.JUDGE.value: await stack.enter_async_context(own.open(policies, meter=meter))}
            if config.second_judge is not None:
                second = own.open(policies, teachers={Role.JUDGE: config.second_judge}, meter=meter)
                casts[SECOND_JUDGE] = await stack.enter_async_context(second)
            yield casts


async def _score(
    asked: Sequence[Graded], completions: Sequence[str], round_: int, shaping: Shaping, casts: dict[str, Cast]
) -> ScoredBatch:
    scored = await together(
        score_answers(
            cast, asked, completions, round_, shaping=shaping, under="train/" if name == Role.JUDGE else f"train/{name}/"
        )
        for name, cast in casts.items()
    )
    by_name = dict(zip(casts, scored, strict=True))
    samples = by_name.pop(Role.JUDGE.value)
    return ScoredBatch(samples, {name: [sample.score for sample in others] for name, others in by_name.items()})
