"""How pairs held out of training are compared before and after it. The figures themselves are in results/run.py."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pop_selfplay.results.run import HeldOut, HeldOutAnswers


class LogProbs(NamedTuple):
    """Log-probabilities of whole answers given their prompts, one entry per pair, in the same order in both."""

    chosen: Sequence[float]
    rejected: Sequence[float]


class AnswerLogProbs(NamedTuple):
    """Log-probabilities of whole answers given their prompts, and how many tokens each has, in the same order in both."""

    log_probs: Sequence[float]
    tokens: Sequence[int]


def compare_held_out(before: LogProbs, after: LogProbs, beta: float) -> HeldOut:
    """Return the figures of the held-out pairs (at least one). `beta` is DPO's β: rewards are β·(after − before)."""
    rewards = margins(before, after, beta)
    return HeldOut(
        likelier_before=_share(chosen > rejected for chosen, rejected in zip(*before, strict=True)),
        likelier_after=_share(chosen > rejected for chosen, rejected in zip(*after, strict=True)),
        reward_accuracy=_share(margin > 0 for margin in rewards),
        reward_margin=sum(rewards) / len(rewards),
    )


def margins(before: LogProbs, after: LogProbs, beta: float) -> list[float]:
    """Return the reward of the chosen answer minus that of the rejected one, per pair."""
    return [
        beta * ((chosen - old_chosen) - (rejected - old_rejected))
        for chosen, rejected, old_chosen, old_rejected in zip(*after, *before, strict=True)
    ]


def compare_answers(before: AnswerLogProbs, after: AnswerLogProbs) -> HeldOutAnswers:
    """Return the figures of the held-out answers (at least one)."""
    tokens = sum(before.tokens)
    return HeldOutAnswers(
        loss_before=-sum(before.log_probs) / tokens,
        loss_after=-sum(after.log_probs) / tokens,
        likelier=_share(gain > 0 for gain in gains(before, after)),
    )


def gains(before: AnswerLogProbs, after: AnswerLogProbs) -> list[float]:
    """Return how much log-probability each answer gained."""
    return [new - old for new, old in zip(after.log_probs, before.log_probs, strict=True)]


def _share(outcomes: Iterable[bool]) -> float:
    counted = list(outcomes)
    return sum(counted) / len(counted)
