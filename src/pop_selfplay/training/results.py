"""The figures that a training ends with. A new figure goes here first; what each step tells is in records.py."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import Field

from pop_selfplay.records import Record


class HeldOut(Record):
    """The pairs kept out of training, before and after it. All shares are in [0, 1].

    `likelier_*` is the share of pairs whose chosen answer the model finds likelier than the rejected one, which can be compared
    before and after. `reward_accuracy` is the share whose chosen answer gained more log-probability than the rejected one; it
    is only defined after training, because before it the policy equals the reference model and every reward is 0.
    """

    likelier_before: float = Field(ge=0, le=1)
    likelier_after: float = Field(ge=0, le=1)
    reward_accuracy: float = Field(ge=0, le=1)
    reward_margin: float = Field(description="mean reward of chosen minus rejected")


class TrainingResult(Record):
    """A finished training. `tokens` counts what the policy was trained on, prompts and both answers, over all epochs.

    `dropped` holds the pairs not used, by reason (`dataset.DropReason`). Losses are those of the first and last logged step.
    """

    pairs_trained: int = Field(ge=1)
    pairs_held_out: int = Field(ge=0)
    dropped: dict[str, int]
    steps: int = Field(ge=1)
    best_step: int | None = Field(None, description="the step whose weights were kept, None for the last")
    first_loss: float
    last_loss: float
    held_out: HeldOut | None = Field(description="None when no pair was held out")
    seconds: float = Field(ge=0, description="wall-clock of everything, loading and saving too")
    tokens: int = Field(ge=0)


class OnlineResult(Record):
    """A finished online training. `tokens` counts prompts and answers over all steps, `generated_tokens` the answers alone.

    Rewards are means over the first and the last tenth of the steps (at least one); `judge_failures` and `invalid` count the
    sampled answers without a score and those that did not parse, by reason.
    """

    problems: int = Field(ge=1, description="problems trained on")
    dropped: dict[str, int] = Field(description="problems not used, by reason")
    steps: int = Field(ge=1)
    samples: int = Field(ge=1, description="sampled answers")
    judge_failures: dict[str, int]
    invalid: dict[str, int]
    first_reward: float | None
    last_reward: float | None
    kl: float | None = Field(description="at the last step; None without a reference model")
    seconds: float = Field(ge=0, description="wall-clock of everything, loading and saving too")
    tokens: int = Field(ge=0)
    generated_tokens: int = Field(ge=0)


class LogProbs(NamedTuple):
    """Log-probabilities of whole answers given their prompts, one entry per pair, in the same order in both."""

    chosen: Sequence[float]
    rejected: Sequence[float]


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


def _share(outcomes: Iterable[bool]) -> float:
    counted = list(outcomes)
    return sum(counted) / len(counted)
