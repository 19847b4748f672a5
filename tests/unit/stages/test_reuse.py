"""Reuse: what of another run's calls is taken over, and what never is."""

from pathlib import Path

from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.records import Completion, Role
from pop_selfplay.stages.reuse import Earlier


def test_answers_to_held_out_problems_are_the_policys_own_whatever_is_reused(tmp_path: Path) -> None:
    keys = {(round_, role): CallKey(round_, f"{round_}/d/0", role.value, "0", 0) for round_ in (0, 1) for role in Role}
    with Journal.open(tmp_path / "run.db") as journal:
        journal.record_calls([(key, StoredCall("digest", "", Completion("text", "stop", 9, 9))) for key in keys.values()])
        earlier = Earlier(journal, frozenset(Role), frozenset({"0/d", "1/d"}))
        asked_anew = {place for place, key in keys.items() if earlier.completion(key) is None}
    assert asked_anew == {(0, Role.SOLVER)}
