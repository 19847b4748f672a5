"""The figures of rubrics respect that problems of one document are related, and are never certain of what they saw alike."""

import pytest
from tests.unit.evaluation.audit.makers import by_chance, scored

from pop_selfplay.records import Episode, Failure
from pop_selfplay.report.result import Quality, summarise
from pop_selfplay.results import ReportedEstimate
from pop_selfplay.stats.intervals import wilson

LOST = Failure(stage="pair", reason="no_spread")


def figures(episodes: list[Episode]) -> ReportedEstimate:
    quality = Quality()
    for episode in episodes:
        quality.add(summarise(episode, LOST))
    return quality.criteria.std


def test_more_problems_of_the_same_documents_add_no_certainty() -> None:
    episodes = [one.episode for one in scored(by_chance, problems=20)]
    again = [episode.model_copy(update={"id": f"{episode.id}1"}) for episode in episodes]
    once, twice = figures(episodes), figures(episodes + again)
    assert twice.n == 2 * once.n and twice.high == pytest.approx(once.high, abs=1e-5)


def test_criteria_that_all_separate_are_not_certain_to_do_so() -> None:
    quality = Quality()
    for one in scored(by_chance, problems=20, candidates=16):
        quality.add(summarise(one.episode, LOST))
    alike = quality.criteria.rate_all_alike
    assert alike.mean == 0 and alike.high is not None and 1 < alike.high / wilson(0.0, 20)[1] < 1.3
