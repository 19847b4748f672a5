"""The simulated machine against times computed by hand."""

from typing import Any

import pytest

from pop_selfplay.models.simulated.timing import BLOCK_TOKENS, Batch, Machine, PrefixCache, Sequence, blocks_of

SMALL = Machine(
    step_base_s=0.02, step_per_sequence_s=0.001, slots=2, prefill_tokens_per_s=1000, chunk_tokens=100, cached_blocks=100
)
AT_ONCE: dict[str, Any] = {"prefill_tokens_per_s": 1e18, "chunk_tokens": 10**9}  # reading takes no time
READING_STEP_S = 0.02 + 100 / 1000  # a step that reads a full chunk while nobody writes


def sequence(prompt_tokens: int, tokens: int, blocks: tuple[int, ...] = ()) -> Sequence:
    return Sequence(blocks, prompt_tokens, tokens)


def finish(batch: Batch, *sequences: Sequence) -> list[Sequence]:
    for one in sequences:
        batch.submit(one)
    return batch.advance(1e6)


def test_one_sequence_reads_its_prompt_and_writes_a_token_a_step() -> None:
    one = sequence(prompt_tokens=50, tokens=10)
    assert finish(Batch(SMALL), one) == [one]
    assert one.first_token_s == pytest.approx(READING_STEP_S * 50 / 100)
    assert one.finished_s == pytest.approx(0.06 + 10 * 0.021)


def test_each_sequence_at_work_makes_every_step_a_little_longer() -> None:
    batch = Batch(Machine(step_base_s=0.02, step_per_sequence_s=0.001, slots=2, **AT_ONCE))
    long, short = sequence(1, 10), sequence(1, 4)
    assert finish(batch, long, short) == [short, long]
    assert short.finished_s == pytest.approx(4 * 0.022)
    assert long.finished_s == pytest.approx(4 * 0.022 + 6 * 0.021)


def test_a_prompt_is_read_in_chunks_that_slow_the_writing_of_others() -> None:
    batch = Batch(SMALL)
    first, second = sequence(1, 100), sequence(198, 10)
    batch.submit(first)
    began = READING_STEP_S / 100  # one of a hundred tokens
    batch.advance(began)
    batch.submit(second)
    batch.advance(1e6)
    # Beside a writing sequence 99 tokens are left for the prompt: two steps, in which the first writes two tokens.
    read = began + 2 * (0.021 + 99 / 1000)
    assert first.first_token_s == pytest.approx(began) and second.first_token_s == pytest.approx(read)
    assert second.finished_s == pytest.approx(read + 10 * 0.022)
    assert first.finished_s == pytest.approx(read + 10 * 0.022 + 88 * 0.021)


def test_who_finds_no_free_slot_waits_in_line() -> None:
    batch = Batch(Machine(step_base_s=1.0, step_per_sequence_s=0.0, slots=1, **AT_ONCE))
    sequences = [sequence(1, 5), sequence(1, 2), sequence(1, 3)]
    for one in sequences:
        batch.submit(one)
    assert (batch.running, batch.waiting) == (1, 2)
    assert batch.advance(1e6) == sequences
    assert [one.finished_s for one in sequences] == pytest.approx([5.0, 7.0, 10.0])


def test_who_arrives_in_the_middle_of_a_step_changes_the_pace_from_then_on() -> None:
    batch = Batch(Machine(step_base_s=1.0, step_per_sequence_s=1.0, slots=2, **AT_ONCE))
    first, second = sequence(1, 2), sequence(1, 1)
    batch.submit(first)
    batch.advance(1.0)  # half of its first step of 2 s
    batch.submit(second)
    assert batch.next_event_s() == pytest.approx(1.0)  # the second prompt is read at once
    batch.advance(1e6)
    assert second.finished_s == pytest.approx(1.0 + 3.0)
    assert first.finished_s == pytest.approx(4.0 + 0.5 * 2.0)


def test_what_was_read_before_comes_from_the_cache_but_for_one_token() -> None:
    text = "".join(f"{number:4}" for number in range(10 * BLOCK_TOKENS))
    blocks = blocks_of(text)
    assert len(blocks) == 10
    batch = Batch(SMALL)
    first, same, longer = sequence(160, 1, blocks), sequence(160, 1, blocks), sequence(200, 1, blocks)
    finish(batch, first, same, longer)
    assert (first.cached_tokens, same.cached_tokens, longer.cached_tokens) == (0, 159, 160)
    batch.forget()
    again = sequence(160, 1, blocks)
    finish(batch, again)
    assert again.cached_tokens == 0


def test_blocks_are_alike_just_as_far_as_two_texts_begin_alike() -> None:
    one, other = blocks_of("a" * 1000), blocks_of("a" * 500 + "b" + "a" * 499)
    assert [a == b for a, b in zip(one, other, strict=True)] == [True] * 7 + [False] * 8


def test_the_cache_keeps_the_blocks_used_last() -> None:
    cache = PrefixCache(3)
    assert cache.reuse([1, 2]) == 0
    assert cache.reuse([1, 2, 3]) == 2
    assert cache.reuse([4]) == 0  # 1 has to go
    assert cache.reuse([2, 3]) == 2
    assert cache.reuse([1]) == 0
    assert cache.reuse([9, 2]) == 0  # the second is held, but not after this beginning


def test_who_is_cancelled_gives_its_slot_to_the_next() -> None:
    batch = Batch(Machine(step_base_s=1.0, step_per_sequence_s=0.0, slots=1, **AT_ONCE))
    first, second, third = sequence(1, 100), sequence(1, 100), sequence(1, 3)
    for one in (first, second, third):
        batch.submit(one)
    batch.advance(10.0)
    batch.cancel(second)
    batch.cancel(first)
    assert batch.advance(1e6) == [third]
    assert third.finished_s == pytest.approx(13.0)
    batch.cancel(third)  # done long ago


def test_the_load_counts_from_the_first_arrival_to_the_last_completion() -> None:
    batch = Batch(Machine(step_base_s=1.0, step_per_sequence_s=0.0, slots=2, **AT_ONCE))
    batch.advance(50.0)
    for tokens in (2, 4, 2):
        batch.submit(sequence(1, tokens))
    batch.advance(60.0)
    batch.submit(sequence(1, 1))
    batch.advance(1000.0)
    load = batch.load
    assert load.window_s == pytest.approx(11.0) and load.busy_s == pytest.approx(5.0)
    assert load.running_s == pytest.approx(9.0) == load.decoding_s
    assert load.waiting_s == pytest.approx(2.0) and load.full_s == pytest.approx(4.0)
    batch.forget()
    assert batch.load.window_s == 0


def test_nothing_at_work_has_no_next_event() -> None:
    batch = Batch(SMALL)
    assert batch.next_event_s() is None and batch.advance(5.0) == []
    assert batch.now_s == 5.0
