"""The choice of documents: by hash alone, nested, without repeats, every drop counted."""

import random
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pop_selfplay.config import DocumentFilter, PocketCorpus
from pop_selfplay.corpus import ChosenDocuments, Entry, Skipped, choose, read_documents
from pop_selfplay.errors import CorpusError
from pop_selfplay.records import Document
from pop_selfplay.text.overlap import shingle_set, similarity

ANY_LENGTH = DocumentFilter(min_words=0, max_words=1000, near_duplicates=None)
unhurried = settings(deadline=None)  # the first example of each test imports and warms up
UNLIKE = DocumentFilter(min_words=0, max_words=1000, near_duplicates=0.6)


def document(number: int, text: str | None = None) -> Document:
    return Document(id=f"d{number}", text=f"text {number}" if text is None else text)


def chosen(entries: Sequence[Entry], count: int, skip: int = 0, seed: int = 1) -> ChosenDocuments:
    return choose(entries, seed=seed, count=count, skip=skip, filter=ANY_LENGTH)


@pytest.mark.parametrize("count", [10, 30, 60, 90, 100, 400])
def test_documents_that_share_an_id_count_as_one_however_often_the_corpus_has_to_be_read(count: int) -> None:
    entries = [Document(id=f"d{number // 10}", text=f"text {number}") for number in range(1000)]
    few, many = chosen(entries, count).documents, chosen(entries, 100).documents
    assert len(few) == min(count, 100) and few == many[:count] and len({one.id for one in many}) == 100


distinct = st.lists(st.integers(0, 10_000), unique=True, min_size=1, max_size=60).map(
    lambda numbers: [document(number) for number in numbers]
)
# few ids and few texts, so that both repeat, together and apart; white space must not make a text another one
clashing = st.lists(
    st.builds(
        lambda number, word, space: document(number, f"{word}{space}{word}"),
        st.integers(0, 12),
        st.sampled_from("abcdefgh"),
        st.sampled_from([" ", "\n", "  "]),
    ),
    min_size=1,
    max_size=40,
)
# variants of few texts: one or two changed words of 60 leave a near-duplicate, more do not, so that resemblance has chains
alike = st.lists(
    st.tuples(st.integers(0, 30), st.integers(0, 2), st.sets(st.integers(0, 5), max_size=4)),
    min_size=1,
    max_size=25,
).map(lambda variants: [document(number, variant(base, places)) for number, base, places in variants])


def variant(base: int, places: set[int]) -> str:
    """Return a text of 60 words, those at ten times `places` changed."""
    return " ".join(f"{'x' if place / 10 in places else 'w'}{base}-{place}" for place in range(60))


def first_unlike(documents: Sequence[Document], threshold: float, seed: int = 1) -> list[Document]:
    """Return what must be kept, the slow way: in the order of the hashes, what resembles no kept document."""
    kept: list[Document] = []
    for candidate in chosen(documents, len(documents), seed=seed).documents:
        own = shingle_set(candidate.text)
        if all(similarity(own, shingle_set(other.text)) < threshold for other in kept):
            kept.append(candidate)
    return kept


@unhurried
@given(clashing, st.integers(1, 15), st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_corpus(
    documents: list[Document], count: int, skip: int, rng: random.Random
) -> None:
    shuffled = rng.sample(documents, len(documents))
    try:
        expected: ChosenDocuments | None = chosen(documents, count, skip)
    except CorpusError:
        expected = None
    if expected is None:
        with pytest.raises(CorpusError):
            chosen(shuffled, count, skip)
    else:
        assert chosen(shuffled, count, skip) == expected


@unhurried
@given(clashing, st.integers(1, 15), st.integers(0, 15))
def test_a_larger_choice_begins_with_the_smaller_one(documents: list[Document], count: int, more: int) -> None:
    small, large = chosen(documents, count).documents, chosen(documents, count + more).documents
    assert large[: len(small)] == small


@unhurried
@given(distinct, st.integers(1, 20))
def test_rounds_go_through_the_corpus_without_a_repeat(documents: list[Document], count: int) -> None:
    rounds = [chosen(documents, count, skip) for skip in range(0, len(documents), count)]
    ids = [document.id for choice in rounds for document in choice.documents]
    assert len(ids) == len(documents) and set(ids) == {document.id for document in documents}
    assert ids == [document.id for document in chosen(documents, len(documents)).documents]


@unhurried
@given(clashing)
def test_no_id_and_no_text_comes_twice_and_every_drop_is_counted(documents: list[Document]) -> None:
    choice = chosen(documents, len(documents))
    texts = [" ".join(document.text.split()) for document in choice.documents]
    assert len(set(texts)) == len(texts)
    assert len({document.id for document in choice.documents}) == len(choice.documents) == choice.available
    assert choice.read == len(documents) == choice.available + sum(choice.dropped.values())
    assert all(choice.dropped.values())


@unhurried
@given(clashing, st.integers(1, 10))
def test_counts_do_not_depend_on_how_many_are_chosen(documents: list[Document], count: int) -> None:
    few, all_ = chosen(documents, count), chosen(documents, len(documents))
    assert (few.dropped, few.available, few.read) == (all_.dropped, all_.available, all_.read)


def test_another_seed_makes_another_choice() -> None:
    documents = [document(number) for number in range(200)]
    first, second = chosen(documents, 20, seed=1), chosen(documents, 20, seed=2)
    assert {document.id for document in first.documents} != {document.id for document in second.documents}


@unhurried
@given(alike, st.integers(1, 12), st.integers(0, 4), st.randoms(use_true_random=False))
def test_of_near_duplicates_the_first_by_hash_stays_in_whatever_order_they_are_read(
    documents: list[Document], count: int, skip: int, rng: random.Random
) -> None:
    expected = first_unlike(documents, 0.6)
    if len(expected) <= skip:
        with pytest.raises(CorpusError):
            choose(documents, seed=1, count=count, skip=skip, filter=UNLIKE)
        return
    choice = choose(documents, seed=1, count=count, skip=skip, filter=UNLIKE)
    assert choice.documents == tuple(expected[skip : skip + count])
    assert choice == choose(rng.sample(documents, len(documents)), seed=1, count=count, skip=skip, filter=UNLIKE)
    assert choice.read == len(documents) == choice.available + sum(choice.dropped.values())


def test_the_corpus_is_read_again_when_too_many_of_it_are_near_duplicates() -> None:
    reads = []

    class Corpus:
        def __iter__(self) -> Iterator[Entry]:
            reads.append(1)
            for number in range(2000):  # every tenth is a text of its own, all others are one
                yield document(number, f"{variant(0 if number % 10 else number, set())} {number}")

    choice = choose(Corpus(), seed=1, count=120, skip=60, filter=UNLIKE)
    assert len(reads) > 2
    at_once = choose(list(Corpus()), seed=1, count=2000, filter=UNLIKE)
    assert len(at_once.documents) == at_once.available == 200 and at_once.dropped == {"near_duplicate": 1800}
    assert choice.documents == at_once.documents[60:180]
    assert choice.read == 2000 == choice.available + choice.dropped["near_duplicate"]


def test_near_duplicates_behind_the_last_chosen_document_are_not_looked_for() -> None:
    documents = [document(number, f"{variant(number // 2, set())} {number}") for number in range(100)]
    choice = choose(documents, seed=1, count=5, filter=UNLIKE)
    ranks = [entry.id for entry in chosen(documents, 100).documents]
    last = ranks.index(choice.documents[-1].id)
    assert choice.dropped.get("near_duplicate", 0) == last + 1 - 5
    assert choice.available == 100 - (last + 1 - 5)


def test_near_duplicates_may_stay() -> None:
    documents = [document(1, variant(0, set())), document(2, variant(0, {1}))]
    assert len(choose(documents, seed=1, count=2, filter=UNLIKE).documents) == 1
    assert len(choose(documents, seed=1, count=2, filter=ANY_LENGTH).documents) == 2


def test_documents_that_repeat_a_benchmark_are_dropped_in_the_part_that_is_used(tmp_path: Path) -> None:
    question = "which of these thirteen words in a row would give this question away"
    (tmp_path / "benchmark.txt").write_text(f"Question: {question.upper()}?")
    documents = [document(1, f"so {question} then"), document(2, f"{'long ' * 20}{question}"), document(3, "clean")]
    filter = DocumentFilter(min_words=0, max_words=20, benchmarks=[str(tmp_path / "benchmark.txt")])
    choice = choose(documents, seed=1, count=3, filter=filter)
    assert {document.id for document in choice.documents} == {"d2", "d3"}
    assert choice.dropped == {"contaminated": 1} and choice.available == 2
    with pytest.raises(CorpusError, match=r"none of the 1 texts.*contaminated 1"):
        choose(documents[:1], seed=1, count=3, filter=filter)


def test_a_corpus_that_can_be_read_only_once_is_refused() -> None:
    with pytest.raises(TypeError, match="not an iterator"):
        choose(iter([document(1)]), seed=1, count=1, filter=ANY_LENGTH)


def test_short_documents_are_dropped_and_long_ones_cut() -> None:
    entries: list[Entry] = [
        document(1, "one two"),
        document(2, "one\n\ttwo  three four"),
        Skipped("file#3", "bad_json"),
        Skipped("file#4", "bad_json"),
    ]
    choice = choose(entries, seed=0, count=9, filter=DocumentFilter(min_words=3, max_words=3))
    assert [document.text for document in choice.documents] == ["one\n\ttwo  three"]
    assert choice == ChosenDocuments(choice.documents, available=1, read=4, dropped={"too_short": 1, "bad_json": 2})


def test_texts_that_are_equal_in_the_part_that_is_used_are_duplicates() -> None:
    entries = [document(1, "one two three"), document(2, "one two four")]
    choice = choose(entries, seed=0, count=9, filter=DocumentFilter(min_words=1, max_words=2))
    assert len(choice.documents) == 1 and choice.dropped == {"duplicate_text": 1}


def test_fewer_documents_than_asked_for_are_no_error() -> None:
    assert len(chosen([document(1), document(2)], 10).documents) == 2


def test_a_corpus_without_a_usable_document_is_an_error_that_lists_the_reasons() -> None:
    entries: list[Entry] = [document(1, "short"), Skipped("a", "empty"), Skipped("b", "empty")]
    with pytest.raises(CorpusError, match=r"none of the 3 texts.*empty 2, too_short 1.*min_words \(now 50\)"):
        choose(entries, seed=0, count=1, filter=DocumentFilter())
    with pytest.raises(CorpusError, match="holds no documents"):
        chosen([], 1)
    with pytest.raises(CorpusError, match="all 1 usable documents"):
        chosen([document(1)], 1, skip=1)


def test_memory_is_bounded_by_the_choice_and_not_by_the_corpus() -> None:
    class Corpus:
        def __iter__(self) -> Iterator[Entry]:
            for number in range(1500):
                yield document(number, f"{number} " + "word " * 1000)  # 7.5 MB in all

    tracemalloc.start()
    try:
        choice = choose(Corpus(), seed=0, count=10, filter=DocumentFilter(max_words=2000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(choice.documents) == 10 and choice.available == 1500
    assert peak < 2_000_000


def test_the_pocket_corpus_gives_editions_of_each_plant() -> None:
    documents = [entry for entry in read_documents(PocketCorpus(editions=2)) if isinstance(entry, Document)]
    ids = [document.id for document in documents]
    assert len(set(ids)) == len(ids) and {id.rpartition("/")[2] for id in ids} == {"0", "1"}
    assert all(document.id.rpartition("/")[0] == document.title for document in documents)
    assert documents == list(read_documents(PocketCorpus(editions=2)))
    assert set(ids) < {entry.id for entry in read_documents(PocketCorpus(editions=3)) if isinstance(entry, Document)}
