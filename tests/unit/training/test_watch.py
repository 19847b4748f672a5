"""The log of an interrupted training: what came after the checkpoint is forgotten, whatever lines hold or a kill cut short."""

import json
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from pop_selfplay.training.callbacks import OnlineWatch, lines_until

ROWS = [{"step": step, "answer": answer} for step, answer in [(1, "one\u2028line\u0085of\x0cthree"), (2, "é"), (3, "later")]]


def written(path: Path) -> bytes:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    return path.read_bytes()


def test_lines_until_the_checkpoint_stay_with_every_character_and_later_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    before = written(path)
    assert lines_until(path, 2) == ROWS[:2]
    assert path.read_bytes() == before[: before.index(b'{"step": 3')]
    assert lines_until(path, 0) == [] and path.read_bytes() == b""


@pytest.mark.parametrize("cut", [1, 3, 4, 5], ids=["the end of the line", "a quote", "half a letter", "a whole letter"])
def test_a_line_that_a_kill_cut_short_is_none(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "samples.jsonl"
    whole = written(path)
    path.write_bytes(whole[: whole.index(b'{"step": 3') - cut])
    assert lines_until(path, 3) == (ROWS[:2] if cut == 1 else ROWS[:1])


def test_steps_on_answers_of_an_earlier_one_say_nothing_of_rewards_and_tokens(tmp_path: Path) -> None:
    """TRL logs both only where it generates; and the last steps may not be logged at all."""
    watch, control = OnlineWatch(tmp_path, None), TrainerControl()
    for step, logs in enumerate([{"group/reward": 1.0, "num_tokens": 50}, {}, {"group/reward": 3.0, "num_tokens": 90}, {}], 1):
        watch.on_log(TrainingArguments(), TrainerState(global_step=step, max_steps=5), control, {"loss": 0.1} | logs)
    watch.on_log(
        TrainingArguments(),
        TrainerState(global_step=5, max_steps=5),
        control,
        {"train_runtime": 1.0, "num_tokens": 120, "group/reward": 5.0},
    )
    watch.samples = 4
    result = watch.result(1, {}, 1.0)
    assert (result.steps, result.tokens, result.first_reward, result.last_reward) == (5, 120, 1.0, 5.0)


def test_the_log_is_rewritten_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "samples.jsonl"
    before = written(path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        lines_until(path, 2)
    assert path.read_bytes() == before
