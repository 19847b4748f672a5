"""How much may be asked of a server: every rule by a clock that the test moves."""

import pytest

from pop_selfplay.models.scheduler import Limits, PerMinute


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_as_many_fit_as_the_limit_says_and_more_when_nothing_is_in_flight() -> None:
    limits = Limits(8, clock=Clock())
    assert limits.fits(32)
    grant = limits.grant(5, 0)
    assert limits.fits(3) and not limits.fits(4)
    limits.give_back(grant)
    assert limits.in_flight == 0 and limits.fits(32)


def test_a_429_halves_what_is_in_flight_once_for_all_that_were_sent_before() -> None:
    clock = Clock()
    limits = Limits(64, clock=clock)
    grants = [limits.grant(1, 0) for _ in range(40)]
    for grant in grants:
        limits.sending(grant)
    clock.now += 1
    for grant in grants:
        limits.throttled(grant, 0)
    assert limits.most_in_flight == 20
    clock.now += 1
    limits.sending(grants[0])
    limits.throttled(grants[0], 0)
    assert limits.most_in_flight == 10


def test_the_limit_grows_by_a_32nd_of_its_maximum_with_every_round_of_answers_and_no_further_than_it() -> None:
    limits = Limits(320, clock=Clock())
    grants = [limits.grant(1, 0) for _ in range(200)]
    limits.throttled(grants[0], 0)
    assert limits.most_in_flight == 100
    for grant in grants[:100]:
        limits.answered(grant, 0)
    assert 108 <= limits.most_in_flight <= 110
    for _ in range(40):
        for grant in grants:
            limits.answered(grant, 0)
    assert limits.most_in_flight == 320


def test_the_limit_never_falls_below_one() -> None:
    limits = Limits(4, clock=Clock())
    grant = limits.grant(1, 0)
    for _ in range(5):
        limits.sending(grant)
        limits.throttled(grant, 0)
    assert limits.most_in_flight == 1


def test_after_retry_after_nothing_is_sent_for_that_long() -> None:
    clock = Clock()
    limits = Limits(4, clock=clock)
    limits.throttled(limits.grant(1, 0), 7.5)
    limits.throttled(limits.grant(1, 0), 2.0)
    assert limits.wait_s(0) == 7.5
    clock.now += 7.5
    assert limits.wait_s(0) == 0


def test_no_sixty_seconds_hold_more_requests_than_the_limit() -> None:
    clock = Clock()
    limits = Limits(100, requests_per_minute=3, clock=clock)
    sent: list[float] = []
    while len(sent) < 10:
        wait = limits.wait_s(0)
        clock.now += wait
        if wait == 0:
            limits.sending(limits.grant(1, 0))
            sent.append(clock.now)
            clock.now += 7
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[3:], strict=False))
    assert sent[3] == sent[0] + 60


def test_tokens_count_as_expected_until_the_answer_tells_what_they_were() -> None:
    clock = Clock()
    limits = Limits(100, tokens_per_minute=1000, clock=clock)
    grant = limits.grant(1, 800)
    limits.sending(grant)
    assert limits.wait_s(300) == 60
    limits.answered(grant, 600)
    assert limits.wait_s(300) == 0 and limits.wait_s(500) == 60


def test_a_call_for_more_than_a_whole_minute_goes_when_the_minute_is_empty() -> None:
    minute = PerMinute(100)
    assert minute.wait_s(0, 500) == 0
    minute.spend(0, 500)
    assert minute.wait_s(20, 1) == 40
    assert minute.wait_s(60, 500) == 0


@pytest.mark.parametrize("late", [61.0, 1000.0])
def test_what_is_corrected_after_its_minute_changes_nothing(late: float) -> None:
    minute = PerMinute(100)
    spent = minute.spend(0, 90)
    assert minute.wait_s(late, 100) == 0
    minute.spend(late, 30)
    minute.correct(spent, 10)
    assert minute.wait_s(late, 70) == 0 and minute.wait_s(late, 71) == 60
