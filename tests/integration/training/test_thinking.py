"""Online RL of a model that thinks: prompts as synthesis renders them, and a draft within open reasoning is no answer."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.integration.training.conftest import CHATML

from pop_selfplay.config import AS_IT_DOES, GRPOTraining, RoleThinking, Sampling, Thinking
from pop_selfplay.domains import load_domain
from pop_selfplay.method.parsing import Rejection, parse_answer
from pop_selfplay.method.rewards import INVALID_SCORE, Sample
from pop_selfplay.models.local.decoding import Written
from pop_selfplay.models.local.loading import Loaded
from pop_selfplay.models.local.sampling import Row
from pop_selfplay.records import Problem, Role
from pop_selfplay.results.run import OnlineResult
from pop_selfplay.rewards.scoring import Graded
from pop_selfplay.training import grpo_trainer
from pop_selfplay.training.callbacks import ScoredBatch
from pop_selfplay.training.grpo import OnlineJob, train_grpo

THINKS_IF_TOLD = CHATML.replace("{% endif %}", "{% if enable_thinking %}<think>\n{% endif %}{% endif %}")
THINKS_ALWAYS = CHATML.replace("{% endif %}", "<think>\n{% endif %}")
DRAFT, ANSWER = "<answer>a</answer>", "so</think><answer>b</answer>"


def score(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
    """What parses is worth 1; `score_answers` tells what does not in the same way, but asks a judge."""
    samples = []
    for text in completions:
        parsed = parse_answer(text)
        if isinstance(parsed, Rejection):
            samples.append(Sample(text, None, INVALID_SCORE, INVALID_SCORE, parsed.reason))
        else:
            samples.append(Sample(text, parsed.value, 1.0, 1.0))
    return ScoredBatch(samples, {})


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Let the model in training answer with a draft and an answer by turns; the prompts that it is asked with."""
    asked = set[str]()

    def write(loaded: Loaded, batch: Sequence[Row], *_: object) -> list[Written]:
        asked.update(loaded.tokenizer.decode(row.prompt) for row in batch)
        texts = [(DRAFT, ANSWER)[row.place % 2] for row in batch]
        return [Written(loaded.tokenizer(text)["input_ids"], by_limit=False) for text in texts]

    monkeypatch.setattr(grpo_trainer, "write", write)
    return asked


def train(start: str, out: Path, thinking: RoleThinking) -> OnlineResult:
    """Take one step with four answers to each of two problems."""
    graded = [Graded(Problem(id=f"1/{n}/0", document_id=str(n), text=f"{n}?", reference_answer="b"), None) for n in range(2)]
    grpo = {"num_generations": 4, "max_steps": 1, "gradient_checkpointing": False, "max_prompt_length": None}
    config, solver = GRPOTraining(grpo=grpo, batch_size=8), Sampling(max_tokens=40)
    return train_grpo(OnlineJob(graded, load_domain("pocket"), start, out, config, solver, 1, None, thinking), score)


@pytest.mark.parametrize(
    ("template", "thinking", "opened"),
    [
        (THINKS_ALWAYS, AS_IT_DOES, True),
        (THINKS_IF_TOLD, RoleThinking(enabled=True), True),
        (THINKS_IF_TOLD, Thinking(roles={Role.SOLVER: RoleThinking(enabled=False)}).of(Role.SOLVER), False),
    ],
    ids=["the template opens it", "the setting opens it", "the setting leaves it out"],
)
def test_a_draft_within_reasoning_that_the_prompt_opened_is_worth_nothing(
    tmp_path: Path,
    make_tokenizer: Callable[..., Any],
    make_model: Callable[..., str],
    prompts: set[str],
    template: str,
    thinking: RoleThinking,
    opened: bool,
) -> None:
    start = make_model(tmp_path / "start", make_tokenizer(template))
    result = train(start, tmp_path / "out", thinking)
    assert {prompt.endswith("<think>\n") for prompt in prompts} == {opened}
    assert result.invalid == ({"unclosed_reasoning": 4} if opened else {})
    assert result.first_reward == (0.5 if opened else 1.0)
