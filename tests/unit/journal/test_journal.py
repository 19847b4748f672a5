"""The journal gives back exactly what was put in, and keeps count."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.errors import JournalError
from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.records import (
    Candidate,
    Completion,
    Criterion,
    Document,
    Episode,
    Evaluation,
    Failure,
    Problem,
    Rating,
    Rubric,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
KEYS = st.builds(CallKey, st.integers(0, 3), TEXT, st.sampled_from(["solver", "judge"]), TEXT, st.integers(0, 9))
CALLS = st.builds(
    StoredCall,
    TEXT,
    st.sampled_from(["", "repaired", "no_tag"]),
    st.builds(Completion, TEXT, st.sampled_from(["stop", "length"]), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
)


def played(number: int, failure: Failure | None = None) -> Episode:
    candidates = tuple(Candidate(index=n, completion=f"hm <answer>a{n}</answer>", answer=f"a{n}") for n in (0, 2))
    rubric = Rubric(criteria=(Criterion(name="c", description="d", weight=1, gold="g"),))
    evaluations = tuple(Evaluation(candidate=n, ratings=(Rating(criterion="c", rating=n),), score=n) for n in (0, 2))
    id_ = f"1/d{number}/0"
    problem = Problem(id=id_, document_id=f"d{number}", text="p", reference_answer="r")
    return Episode(
        id=id_,
        round=1,
        document_id=f"d{number}",
        problem=problem,
        candidates=candidates,
        rubric=rubric,
        evaluations=evaluations,
        failure=failure,
    )


def store_calls_of(journal: Journal, episode: Episode) -> None:
    for candidate in episode.candidates:
        key = CallKey(1, episode.id, "solver", str(candidate.index), 0)
        journal.record_call(key, StoredCall("x", "", Completion(candidate.completion, "stop", 3, 2)))


@given(st.dictionaries(KEYS, CALLS, max_size=12))
def test_calls_come_back_as_they_were_stored(calls: dict[CallKey, StoredCall]) -> None:
    with Journal.open(Path(":memory:")) as journal:
        for key, call in calls.items():
            journal.record_call(key, call)
        by_place = {key[1:]: call for key, call in calls.items()}
        for key in calls:
            assert journal.find_call(key) == by_place[key[1:]]
        assert journal.find_call(CallKey(1, "never", "solver", "0", 77)) is None


def test_episodes_come_back_whole_from_a_reopened_journal(tmp_path: Path) -> None:
    failed = played(2, Failure(stage="judge", reason="too_few_scored", detail="1 of 8"))
    with Journal.open(tmp_path / "run.db") as journal:
        for episode in (played(1), failed):
            store_calls_of(journal, episode)
            journal.record_episode(episode)
        counted = journal.tally
    with Journal.open(tmp_path / "run.db") as journal:
        assert list(journal.episodes(1)) == [played(1), failed]
        assert journal.finished_episodes(1) == {"1/d1/0", "1/d2/0"}
        assert journal.finished_episodes(2) == set()
        assert journal.tally == counted
        assert journal.tally.episodes == {(1, "", ""): 1, (1, "judge", "too_few_scored"): 1}
        assert journal.tally.total_tokens("prompt", 1) == 12 and journal.tally.total_tokens("prompt", 2) == 0


def test_completions_are_stored_once(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "run.db") as journal:
        store_calls_of(journal, played(1))
        journal.record_episode(played(1))
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        assert "<answer>" not in db.execute("SELECT record FROM episodes").fetchone()[0]


def test_documents_keep_their_order_and_drops_their_counts() -> None:
    documents = [Document(id=name, text=name * 3, title="t") for name in ("b", "a", "c")]
    with Journal.open(Path(":memory:")) as journal:
        journal.store_documents([documents[:1], documents], {"too_short": 4})
        assert journal.documents(0) == documents[:1] and journal.documents(1) == documents and journal.documents(2) == []
        assert journal.corpus_drops(1) == {"too_short": 4}


def test_a_candidate_whose_call_is_gone_is_an_error_and_not_an_empty_answer() -> None:
    with Journal.open(Path(":memory:")) as journal:
        journal.record_episode(played(1))
        with pytest.raises(JournalError, match="candidate 0"):
            list(journal.episodes(1))


def test_a_file_that_is_no_journal_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_bytes(b"not a database at all" * 50)
    with pytest.raises(JournalError, match=r"run\.db"):
        Journal.open(tmp_path / "run.db")


def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "run.db")) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(JournalError, match="schema 99"):
        Journal.open(tmp_path / "run.db")
