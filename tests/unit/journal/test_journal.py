"""The journal gives back exactly what was put in, and keeps count."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pop_selfplay.episode import unfinished
from pop_selfplay.errors import JournalDamaged, JournalError
from pop_selfplay.journal import CallKey, Journal, StoredCall, Tally
from pop_selfplay.journal.journal import INHERITED
from pop_selfplay.journal.salvage import fork, salvage
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
    Token,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
KEYS = st.builds(CallKey, st.integers(0, 3), TEXT, st.sampled_from(["solver", "judge"]), TEXT, st.integers(0, 9))
CALLS = st.builds(
    StoredCall,
    TEXT,
    st.sampled_from(["", "repaired", "no_tag"]),
    st.builds(
        Completion,
        TEXT,
        st.sampled_from(["stop", "length"]),
        st.integers(0, 9),
        st.integers(0, 9),
        st.integers(0, 9),
        st.lists(st.builds(Token, TEXT, st.lists(st.tuples(TEXT, st.floats(-1e4, 0)), max_size=3).map(tuple)), max_size=4).map(
            tuple
        ),
    ),
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


@settings(deadline=None)
@given(st.dictionaries(KEYS, CALLS, max_size=12))
def test_calls_come_back_as_they_were_stored(calls: dict[CallKey, StoredCall]) -> None:
    with Journal.open(Path(":memory:")) as journal:
        for key, call in calls.items():
            journal.record_call(key, call)
        by_place = {key[1:]: call for key, call in calls.items()}
        for key in calls:
            assert journal.find_call(key) == by_place[key[1:]]
        assert journal.find_call(CallKey(1, "never", "solver", "0", 77)) is None


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, CALLS), max_size=12))
def test_the_tally_counts_each_call_in_the_journal_once_also_those_that_were_replaced(
    calls: list[tuple[CallKey, StoredCall]],
) -> None:
    expected = Tally()
    with Journal.open(Path(":memory:")) as journal:
        for key, call in calls:
            journal.record_call(key, call)
        for key, call in {key[1:]: (key, call) for key, call in calls}.values():
            done = call.completion
            tokens = (done.prompt_tokens, done.cached_tokens, done.generated_tokens)
            expected.add_calls(key.round, key.role, call.reason, 1, *tokens)
        assert journal.tally == expected


def test_calls_that_belong_together_are_stored_all_or_none(tmp_path: Path) -> None:
    keys = [CallKey(1, "e", "solver", str(n), 0) for n in range(3)]
    calls = [(key, StoredCall("d", "", Completion("text", "stop", 1, 2))) for key in keys]
    # What SQLite cannot hold stands for a kill in the middle.
    broken = [*calls[:2], (keys[2], StoredCall("d", "", Completion("\ud800", "stop", 1, 2)))]
    with Journal.open(tmp_path / "run.db") as journal:
        with pytest.raises(UnicodeEncodeError):
            journal.record_calls(broken)
        assert [journal.find_call(key) for key in keys] == [None, None, None] and journal.tally == Tally()
        journal.record_calls(calls)
        assert [journal.find_call(key) for key in keys] == [call for _, call in calls]
        assert journal.tally.total_tokens("generated") == 6


def test_an_inherited_call_is_found_but_counts_only_once_it_is_recorded() -> None:
    key, call = CallKey(1, "1/d1/0", "solver", "0", 0), StoredCall("x", "", Completion("text", "stop", 3, 2, 1))
    done = call.completion
    with Journal.open(Path(":memory:")) as journal:
        journal.inherit([(*key[1:], "x", done.text, done.finish_reason, 3, 1, 2, "")])
        assert journal.find_call(key) == call._replace(reason=INHERITED)
        assert not journal.tally.calls
        journal.record_call(key, call)
        assert journal.find_call(key) == call
        assert journal.tally.calls == {(1, "solver", ""): 1}


def test_an_episode_is_stored_once() -> None:
    with Journal.open(Path(":memory:")) as journal:
        journal.record_episode(played(1))
        with pytest.raises(JournalError, match="UNIQUE"):
            journal.record_episode(played(1))


def test_every_run_has_an_id_that_stays(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "one", "two"):
        with Journal.open(tmp_path / name) as journal:
            ids.append(journal.run_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_reader_changes_nothing_and_takes_a_journal_that_is_not_there_for_empty(tmp_path: Path) -> None:
    with Journal.open_to_read(tmp_path / "run.db") as journal:
        assert journal.tally == Tally() and list(journal.episodes(1)) == []
    assert list(tmp_path.iterdir()) == []
    with Journal.open(tmp_path / "run.db") as journal:
        journal.record_episode(played(1, Failure(stage="judge", reason="lost")))
    before = (tmp_path / "run.db").read_bytes()
    with Journal.open_to_read(tmp_path / "run.db") as journal:
        assert journal.finished_episodes(1) == {"1/d1/0"}
        with pytest.raises(JournalError, match="writable place"):
            journal.note("a", "b")
    assert (tmp_path / "run.db").read_bytes() == before


def test_episodes_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, one = list[str](), Journal.episode

    def counted(journal: Journal, round_: int, id_: str) -> Episode:
        read.append(id_)
        return one(journal, round_, id_)

    monkeypatch.setattr(Journal, "episode", counted)
    monkeypatch.setattr("pop_selfplay.journal.journal._EPISODES_AT_ONCE", 2)
    with Journal.open(tmp_path / "run.db") as journal:
        for number in range(5):
            journal.record_episode(
                played(number, Failure(stage="proposer", reason="lost")).model_copy(update={"candidates": ()})
            )
        episodes = journal.episodes(1)
        for number in range(5):
            assert next(episodes).id == f"1/d{number}/0"
            assert len(read) == number + 1
            journal.note("written", "meanwhile")
        assert list(episodes) == []


def test_planning_reads_ids_and_no_document(tmp_path: Path) -> None:
    documents = [Document(id=name, text=name) for name in ("b", "a", "c")]
    with Journal.open(tmp_path / "run.db") as journal:
        journal.store_documents([[], documents], {})
        journal.record_episode(played(1).model_copy(update={"id": "1/a/0"}))
        statements: list[str] = []
        journal._db.set_trace_callback(statements.append)
        assert unfinished(journal, 2, 1) == [("b", "1/b/0"), ("b", "1/b/1"), ("a", "1/a/1"), ("c", "1/c/0"), ("c", "1/c/1")]
        assert journal.document_ids(1) == ["b", "a", "c"] and not any("record" in statement for statement in statements)
        plans = [row[3] for s in statements for row in journal._db.execute(f"EXPLAIN QUERY PLAN {s}")]
        assert plans and all("COVERING INDEX" in plan for plan in plans), plans
        assert journal.document(1, "c") == documents[2]
        with pytest.raises(JournalError, match="document x"):
            journal.document(1, "x")


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


def test_of_several_valid_attempts_the_first_is_the_one_that_was_taken() -> None:
    """Only a parser that came to read more leaves several."""
    episode = played(1)
    with Journal.open(Path(":memory:")) as journal:
        for role, item, text in (("solver", "0", "other <answer>a</answer>"), ("proposer", "0", "later")):
            journal.record_call(CallKey(1, episode.id, role, item, 1), StoredCall("x", "", Completion(text, "stop", 3, 2)))
        journal.record_call(
            CallKey(1, episode.id, "proposer", "0", 0), StoredCall("x", "repaired", Completion("first", "stop", 3, 2))
        )
        store_calls_of(journal, episode)
        journal.record_episode(episode)
        assert list(journal.episodes(1)) == [episode]
        assert journal.proposal(episode.id) == "first"


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


TO_SCHEMA_2 = """
ALTER TABLE calls DROP COLUMN probabilities;
ALTER TABLE inherited_calls DROP COLUMN probabilities;
PRAGMA user_version=2;
"""
OLD, PROBABLE = CallKey(1, "1/d1/0", "solver", "0", 0), CallKey(1, "1/d1/0", "judge", "0", 0)
CALL = StoredCall("x", "", Completion("text", "stop", 3, 2, 1))
RATED = StoredCall("y", "", Completion("1", "stop", 3, 2, 1, (Token("1", (("1", -0.5), (" 2", -1.0))),)))


@pytest.fixture
def old_journal(tmp_path: Path) -> Path:
    """A journal as it was before calls had probabilities."""
    path = tmp_path / "run.db"
    with Journal.open(path) as journal:
        journal.record_call(OLD, CALL)
        journal.inherit([("1/d2/0", "solver", "0", 0, "x", "old", "stop", 3, 1, 2, "")])
    with closing(sqlite3.connect(path)) as db:
        db.executescript(TO_SCHEMA_2)
    return path


def test_a_journal_from_before_probabilities_is_brought_up_to_date_and_loses_nothing(old_journal: Path) -> None:
    for _ in range(2):
        with Journal.open(old_journal) as journal:
            assert journal.find_call(OLD) == CALL
            inherited = journal.find_call(CallKey(1, "1/d2/0", "solver", "0", 0))
            assert inherited is not None and (inherited.reason, inherited.completion.text) == (INHERITED, "old")
            journal.record_call(PROBABLE, RATED)
            assert journal.find_call(PROBABLE) == RATED
            assert journal.tally.calls == {(1, "solver", ""): 1, (1, "judge", ""): 1}


def test_a_reader_of_such_a_journal_reads_it_as_it_is(old_journal: Path, tmp_path: Path) -> None:
    before = old_journal.read_bytes()
    with Journal.open_to_read(old_journal) as journal:
        assert journal.find_call(OLD) == CALL
    salvage(old_journal, tmp_path / "whole.db")
    with Journal.open(tmp_path / "whole.db") as journal:
        assert journal.find_call(OLD) == CALL
    with Journal.open(tmp_path / "fork.db") as journal:
        fork(journal, old_journal)
        found = journal.find_call(OLD)
        assert found is not None and found.completion == CALL.completion
    assert old_journal.read_bytes() == before


def test_a_fork_and_a_salvage_keep_probabilities(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "run.db") as journal:
        journal.record_call(PROBABLE, RATED)
    salvage(tmp_path / "run.db", tmp_path / "whole.db")
    with Journal.open(tmp_path / "whole.db") as journal:
        assert journal.find_call(PROBABLE) == RATED
    with Journal.open(tmp_path / "fork.db") as journal:
        fork(journal, tmp_path / "run.db")
        assert journal.find_call(PROBABLE) == RATED._replace(reason=INHERITED)


@pytest.mark.parametrize("text", ["{", "{}", "[[]]", '[["1","2"]]', '[["1",2,"2"]]', "[7]", '[["1","2","3"]]'])
def test_probabilities_that_do_not_parse_are_damage(text: str) -> None:
    with Journal.open(Path(":memory:")) as journal:
        journal.record_call(PROBABLE, RATED)
        journal._db.execute("UPDATE calls SET probabilities = ?", (text,))
        with pytest.raises(JournalDamaged, match="probabilities"):
            journal.find_call(PROBABLE)
