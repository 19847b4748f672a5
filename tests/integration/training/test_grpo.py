"""Online RL on a tiny random model: a reward is learned, a killed training goes on, a judge that fails moves nothing."""

import json
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.training.conftest import CHATML
from tests.learning import Margins, shifted
from transformers import AutoModelForCausalLM

from pop_selfplay.config import EndpointModel, GRPOTraining, LoRA, Sampling
from pop_selfplay.domains import load_domain
from pop_selfplay.errors import ModelUnavailable, TrainingError, UsageError
from pop_selfplay.method.rewards import Sample
from pop_selfplay.records import OnlineStep, Problem
from pop_selfplay.rewards.scoring import Graded
from pop_selfplay.training.callbacks import ScoredBatch
from pop_selfplay.training.grpo import OnlineJob, train_grpo
from pop_selfplay.training.optimizer import CompensatedAdamW

SOLVER = Sampling(max_tokens=12)
FAST = {"learning_rate": 3e-2, "num_generations": 4, "gradient_checkpointing": False, "lr_scheduler_type": "constant"}
Weights = Callable[[Path], dict[str, Any]]


def job(start: str, out: Path, problems: int = 8, lora: LoRA | None = None, **grpo: Any) -> OnlineJob:
    graded = [
        Graded(Problem(id=f"1/{number}/0", document_id=str(number), text=f"Say {number}.", reference_answer="x"), None)
        for number in range(problems)
    ]
    config = GRPOTraining(grpo=FAST | {"max_prompt_length": None} | grpo, batch_size=16, lora=lora)
    return OnlineJob(graded, load_domain("pocket"), start, out, config, SOLVER, seed=1)


def pays_for_e(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
    """The share of letters that are an e: easy to sample, easy to learn."""
    scores = [completion.count("e") / max(1, len(completion)) for completion in completions]
    samples = [Sample(text, text, score, score) for text, score in zip(completions, scores, strict=True)]
    return ScoredBatch(samples, {"truth": [2 * score for score in scores]})


def pays_for_letters(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
    """The share of small letters: a random model writes one in ten, so that every group of eight answers has a spread."""
    scores = [sum(letter in string.ascii_lowercase for letter in text) / max(1, len(text)) for text in completions]
    return ScoredBatch([Sample(text, text, score, score) for text, score in zip(completions, scores, strict=True)], {})


def learning_job(start: str, out: Path, **changes: Any) -> OnlineJob:
    """A training long enough for any seed to learn from: sixteen steps of all eight answers to all eight problems."""
    asked = job(start, out, num_train_epochs=16, num_generations=8, **changes)
    return asked._replace(config=asked.config.model_copy(update={"batch_size": 64}), seed=shifted(1))


@pytest.mark.learning
def test_training_learns_what_the_judge_pays_for(
    steerable_model: str, tmp_path: Path, weights: Weights, margins: Margins, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = list[OnlineStep]()
    out = tmp_path / "models" / "round-1"
    result = train_grpo(learning_job(steerable_model, out), pays_for_letters, steps.append)
    assert capfd.readouterr() == ("", "")
    assert (result.problems, result.steps, result.samples, result.dropped) == (8, 16, 16 * 64, {})
    assert result.first_reward
    margins.above("last reward in first rewards", (result.last_reward or 0) / result.first_reward, 5)
    margins.above("KL from the start", result.kl, 0.5)
    assert [step.step for step in steps] == list(range(1, 17)) and {step.steps for step in steps} == {16}
    assert list(out.parent.iterdir()) == [out], "nothing is left beside the model"
    before = weights(Path(steerable_model))
    assert any(not torch.equal(before[name], weight) for name, weight in weights(out).items())
    AutoModelForCausalLM.from_pretrained(out)
    assert "GRPO" in (out / "README.md").read_text(encoding="utf-8")


def test_every_step_and_every_answer_is_written_down(tiny_model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = train_grpo(job(tiny_model, out, max_steps=2), pays_for_e)
    logged = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    entries = [entry for entry in logged if "loss" in entry]
    assert len(entries) == 2
    for name in ("group/reward", "group/reward_std", "group/no_spread", "judge/failures", "invalid", "signs/words", "kl"):
        assert all(isinstance(entry[name], float) for entry in entries), name
    assert entries[0]["truth/agreement"] == pytest.approx(1)
    assert entries[0]["truth/score"] == pytest.approx(2 * entries[0]["group/reward"])
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [sample["step"] for sample in samples] == [1] * 16 + [2] * 16
    assert {sample["problem_id"] for sample in samples} == {f"1/{number}/0" for number in range(8)}
    assert sum(sample["tokens"] for sample in samples) == result.generated_tokens
    assert entries[1]["group/reward"] == pytest.approx(sum(sample["reward"] for sample in samples[16:]) / 16)


class Dies:
    """A judge whose server goes away after some calls; it remembers what it was asked."""

    def __init__(self, after: int = 1000) -> None:
        self.after = after
        self.asked: list[list[str]] = []

    def __call__(self, asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
        if len(self.asked) == self.after:
            raise ModelUnavailable("gone")
        self.asked.append(list(completions))
        return pays_for_e(asked, completions, ended)


@pytest.mark.parametrize(
    ("options", "answered", "again"),
    [
        ({"save_steps": 2}, 5, 2),
        ({"save_steps": 2, "lora": LoRA(r=2, dropout=0.5)}, 5, 2),
        ({"save_steps": 3, "num_iterations": 2}, 2, 1),
        ({"save_steps": 1, "per_device_train_batch_size": 4, "steps_per_generation": 8}, 2, 1),
    ],
    ids=["all weights", "LoRA with dropout", "answers are used twice", "answers last for two steps"],
)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    tiny_model: str, tmp_path: Path, weights: Weights, options: dict[str, Any], answered: int, again: int
) -> None:
    whole, first, second = Dies(), Dies(after=answered), Dies()
    undisturbed = train_grpo(job(tiny_model, tmp_path / "a", max_steps=6, **options), whole)
    with pytest.raises(ModelUnavailable):
        train_grpo(job(tiny_model, tmp_path / "b", max_steps=6, **options), first)
    resumed = train_grpo(job(tiny_model, tmp_path / "b", max_steps=6, **options), second)
    assert first.asked == whole.asked[:answered]
    assert second.asked == whole.asked[-again:], "it went on from the checkpoint after step 4, with the same answers"
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert resumed.model_copy(update={"seconds": 0}) == undisturbed.model_copy(update={"seconds": 0})
    assert (tmp_path / "a" / "samples.jsonl").read_bytes() == (tmp_path / "b" / "samples.jsonl").read_bytes()


@pytest.mark.learning
def test_lora_learns_too_and_is_merged_into_a_plain_model(
    steerable_model: str, tmp_path: Path, weights: Weights, margins: Margins
) -> None:
    out = tmp_path / "out"
    lora = LoRA(r=8, alpha=16, keep_adapter=True)
    result = train_grpo(learning_job(steerable_model, out, lora=lora, learning_rate=0.06), pays_for_letters)
    assert result.first_reward
    margins.above("last reward in first rewards", (result.last_reward or 0) / result.first_reward, 2)
    margins.above("KL from the start", result.kl, 0.5)
    before, after = weights(Path(steerable_model)), weights(out)
    assert before.keys() == after.keys(), "no trace of LoRA"
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert (out / "adapter" / "adapter_model.safetensors").is_file()
    assert "LoRA GRPO" in (out / "README.md").read_text(encoding="utf-8")


def test_weights_in_bf16_are_trained_by_the_optimiser_that_keeps_their_remainders(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: Weights
) -> None:
    used = list[CompensatedAdamW]()
    step = CompensatedAdamW.step

    def noted(self: CompensatedAdamW, *args: Any) -> Any:
        used.append(self)
        return step(self, *args)

    monkeypatch.setattr(CompensatedAdamW, "step", noted)
    train_grpo(job(tiny_model, tmp_path / "out", max_steps=1, model_init_kwargs={"dtype": "bfloat16"}), pays_for_e)
    assert len(used) == 1
    trained = weights(tmp_path / "out")
    assert trained.keys() == weights(Path(tiny_model)).keys()
    assert {weight.dtype for weight in trained.values()} == {torch.float32}, "saved as the start was"


def fails_on(place: int, reward: float | None) -> Callable[[Sequence[Graded], Sequence[str], Sequence[bool]], ScoredBatch]:
    """A judge that gives every answer its own score, but the one at `place`, which has `reward`."""

    def score(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
        scores: list[float | None] = [number / 10 for number in range(len(completions))]
        scores[place] = reward
        return ScoredBatch(
            [Sample(t, t, s, s, "" if s is not None else "cut_off") for t, s in zip(completions, scores, strict=True)], {}
        )

    return score


def advantages(start: str, out: Path, score: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Train one step and return the advantages that TRL made, in the order of the answers."""
    from trl import GRPOTrainer

    seen: list[float] = []
    generate = GRPOTrainer._generate_and_score_completions

    def spy(self: Any, inputs: Any) -> Any:
        output = generate(self, inputs)
        seen.extend(output["advantages"].tolist())
        return output

    monkeypatch.setattr(GRPOTrainer, "_generate_and_score_completions", spy)
    train_grpo(job(start, out, max_steps=1), score)
    monkeypatch.undo()
    return seen


def test_a_judge_s_failure_moves_nothing_and_leaves_its_group_as_if_it_were_not_there(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = advantages(tiny_model, tmp_path / "a", fails_on(0, None), monkeypatch)
    low = advantages(tiny_model, tmp_path / "b", fails_on(0, 0.0), monkeypatch)
    assert failed[0] == 0
    three = torch.tensor([0.1, 0.2, 0.3])
    assert failed[1:4] == pytest.approx(((three - three.mean()) / (three.std() + 1e-4)).tolist(), abs=1e-5)
    assert failed[4:] == low[4:], "other groups do not notice"
    assert low[0] < -1 and low[1:4] != failed[1:4], "a low score is something else"


def test_a_judge_that_scores_nothing_ends_the_training(tiny_model: str, tmp_path: Path) -> None:
    def broken(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
        return ScoredBatch([Sample(text, text, None, None, "cut_off") for text in completions], {})

    with pytest.raises(TrainingError, match=r"scored none of the 16 answers of step 1 \(cut_off 16\)"):
        train_grpo(job(tiny_model, tmp_path / "out"), broken)


def test_a_loss_that_is_no_number_ends_the_training(make_model: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    start = make_model(tmp_path / "poisoned", make_tokenizer(), weight=3e38)
    with pytest.raises(TrainingError, match="not a number"):
        train_grpo(job(start, tmp_path / "out", max_steps=2), pays_for_e)
    assert not (tmp_path / "out").exists()


def test_an_answer_that_was_cut_off_is_masked_with_its_reward(tiny_model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def invalid(asked: Sequence[Graded], completions: Sequence[str], ended: Sequence[bool]) -> ScoredBatch:
        return ScoredBatch([Sample(text, None, 0.0, 0.0, "no_tag") for text in completions], {})

    result = train_grpo(job(tiny_model, out, max_steps=1, mask_truncated_completions=True), invalid)
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {sample["reason"] for sample in samples if sample["reward"] is None} == {"cut_off"}
    assert all(sample["tokens"] == 12 for sample in samples if sample["reward"] is None)
    assert result.invalid["cut_off"] == sum(sample["reward"] is None for sample in samples) > 8


def test_trl_samples_where_only_trl_knows_how(tiny_model: str, tmp_path: Path) -> None:
    result = train_grpo(job(tiny_model, tmp_path / "out", max_steps=1, top_k=3), pays_for_e)
    assert result.samples == 16 and result.generated_tokens > 0


def test_a_model_whose_template_knows_no_system_message_is_trained_with_the_prompts_of_synthesis(
    make_model: Any, make_tokenizer: Any, tmp_path: Path
) -> None:
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
    start = make_model(tmp_path / "start", make_tokenizer(template))
    asked = job(start, tmp_path / "out", max_steps=1)._replace(domain=load_domain("health_care"))
    assert train_grpo(asked, pays_for_e).samples == 16


def test_a_template_that_refuses_the_problem_is_told(make_model: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    start = make_model(tmp_path / "start", make_tokenizer("{{ raise_exception('not today') }}"))
    with pytest.raises(TrainingError, match=r"cannot render the conversation of problem 1/0/0 .*not today"):
        train_grpo(job(start, tmp_path / "out"), pays_for_e)


def test_the_model_card_tells_no_address_of_the_second_judge(tiny_model: str, tmp_path: Path) -> None:
    asked = job(tiny_model, tmp_path / "out", max_steps=1)
    judge = EndpointModel(base_url="http://10.0.0.7:8000/v1", model="judge")
    train_grpo(asked._replace(config=asked.config.model_copy(update={"second_judge": judge})), pays_for_e)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "num_generations" in card and "10.0.0.7" not in card


def test_problems_that_are_too_long_are_counted(tiny_model: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"8 were longer than training\.grpo\.max_prompt_length 5"):
        train_grpo(job(tiny_model, tmp_path / "out", max_prompt_length=5), pays_for_e)


def test_no_model_is_overwritten_and_several_processes_are_refused(
    tiny_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="exists already"):
        train_grpo(job(tiny_model, tmp_path), pays_for_e)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        train_grpo(job(tiny_model, tmp_path / "out"), pays_for_e)
