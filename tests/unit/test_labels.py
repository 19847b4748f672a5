"""labels.jsonl: only added to, read whatever a crash left of it, and filled from other tools' files."""

import json
import threading
from pathlib import Path

import pytest

from pop_selfplay.errors import JournalError, UsageError
from pop_selfplay.labels import FILE, Label, add, now, read, read_foreign


def rating(value: int, author: str = "ann", candidate: int = 0) -> Label:
    return Label(episode="1/a/0", kind="rating", author=author, time=now(), candidate=candidate, criterion="dose", rating=value)


def test_labels_come_back_as_they_were_given(tmp_path: Path) -> None:
    given = [rating(2), Label(episode="1/a/0", kind="mark", author="bö", time=now(), mark="wrong_gold", note="line\nbreak")]
    assert add(tmp_path, given) == 2
    assert read(tmp_path) == given
    assert read(tmp_path / "elsewhere") == []


def test_the_latest_label_of_a_person_on_a_thing_counts(tmp_path: Path) -> None:
    add(tmp_path, [rating(0), rating(1, "bob"), rating(2)])
    assert [(label.author, label.rating) for label in read(tmp_path)] == [("ann", 2), ("bob", 1)]


def test_a_preference_is_about_two_answers_whichever_comes_first(tmp_path: Path) -> None:
    one = Label(episode="1/a/0", kind="preference", author="ann", time=now(), candidate=3, other=5, better="first")
    again = one.model_copy(update={"candidate": 5, "other": 3})
    add(tmp_path, [one, again])
    assert read(tmp_path) == [again]


@pytest.mark.parametrize("cut", (1, 20, 60))
def test_a_line_that_was_cut_short_is_passed_over_and_spoils_no_later_one(tmp_path: Path, cut: int) -> None:
    add(tmp_path, [rating(0), rating(1, "bob")])
    file = tmp_path / FILE
    file.write_bytes(file.read_bytes()[:-cut])
    add(tmp_path, [rating(2, "cy")])
    assert {label.author for label in read(tmp_path)} >= {"ann", "cy"}


def test_people_who_label_at_once_lose_nothing(tmp_path: Path) -> None:
    def many(author: str) -> None:
        for candidate in range(25):
            add(tmp_path, [rating(1, author, candidate)])

    people = [threading.Thread(target=many, args=(name,)) for name in "abcd"]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(read(tmp_path)) == 100


def test_a_line_that_is_no_label_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        '{"episode": "1/a/0", "kind": "rating", "author": "x", "time": "", "rating": 7, "candidate": 0}\n'
    )
    with pytest.raises(JournalError, match=r"line 1 is no label \(rating"):
        read(tmp_path)


def test_a_label_needs_what_its_kind_is_about() -> None:
    with pytest.raises(ValueError, match="a preference needs candidate and other and better"):
        Label(episode="1/a/0", kind="preference", author="x", time=now(), candidate=1)


FOREIGN = {
    "ours.csv": "episode,candidate,criterion,rating,author\n1/a/0,2,dose,1,ann\n",
    "ours.jsonl": '{"episode": "1/a/0", "candidate": 2, "criterion": "dose", "rating": 1, "author": "ann"}\n',
    "argilla.json": json.dumps(
        [
            {
                "fields": {"answer": "…"},
                "metadata": {"episode": "1/a/0", "candidate": 2, "criterion": "dose"},
                "responses": {"rating": [{"value": "1", "user_id": "ann", "status": "submitted"}]},
            }
        ]
    ),
    "label_studio.json": json.dumps(
        [
            {
                "data": {"episode": "1/a/0", "candidate": 2, "criterion": "dose", "text": "…"},
                "annotations": [
                    {
                        "completed_by": {"email": "ann"},
                        "created_at": "2026-01-01T00:00:00Z",
                        "result": [{"from_name": "rating", "type": "choices", "value": {"choices": ["1"]}}],
                    }
                ],
            }
        ]
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_labels_of_other_tools_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FOREIGN[name], encoding="utf-8")
    (label,) = read_foreign(tmp_path / name, "me")
    assert (label.episode, label.kind, label.candidate, label.criterion, label.rating) == ("1/a/0", "rating", 2, "dose", 1)
    assert label.author == "ann"


def test_a_document_beside_a_label_may_be_long(tmp_path: Path) -> None:
    text = f"episode,candidate,criterion,rating,document\n1/a/0,2,dose,1,{'long ' * 50_000}\n"
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    (label,) = read_foreign(tmp_path / "x.csv", "me")
    assert (label.candidate, label.rating) == (2, 1)


def test_a_task_that_somebody_skipped_is_no_label_and_costs_no_other_one(tmp_path: Path) -> None:
    tasks = json.loads(FOREIGN["label_studio.json"])
    tasks[0]["annotations"] += [{"was_cancelled": True, "result": []}, {"result": []}]
    (tmp_path / "x.json").write_text(json.dumps(tasks), encoding="utf-8")
    assert len(read_foreign(tmp_path / "x.json", "me")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    (("not json", "neither CSV"), ("[1]", "holds 1 where"), ('{"episode": "1/a/0", "rating": 1}', "row 1 of .* is no label")),
)
def test_a_file_that_holds_no_labels_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UsageError, match=said):
        read_foreign(tmp_path / "x.jsonl", "me")
