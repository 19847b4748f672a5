"""The viewer over a small run with many refusals: its index, its pages, and what it lets in."""

import json
import re
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from starlette.testclient import TestClient
from tests.integration.runs import copy_run, small_run
from tests.unit.report.makers import duel_result, eval_result

from pop_selfplay import cli, labels
from pop_selfplay.journal import Journal
from pop_selfplay.labels import Label
from pop_selfplay.records import Failure
from pop_selfplay.runs.session import watch_session
from pop_selfplay.viewer.app import Viewer, is_loopback, serve
from pop_selfplay.viewer.index import FILE, QUEUES, SORTS, Index, Query
from pop_selfplay.viewer.indexer import Indexer
from pop_selfplay.viewer.pages import address, query_of
from pop_selfplay.viewer.reading import Run, filled, show


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("viewed"))


@pytest.fixture(scope="module")
def viewer(run: Path) -> Viewer:
    viewer = Viewer([run, run], author="ann")
    for place in viewer.places:
        while place.indexer.step():
            pass
    return viewer


@pytest.fixture
def client(viewer: Viewer) -> Iterator[TestClient]:
    with TestClient(viewer.app(["testserver"]), follow_redirects=False) as client:
        yield client


@pytest.fixture(scope="module")
def kept(viewer: Viewer) -> str:
    return viewer.places[0].index.find(Query(kept="kept")).entries[0].id


def test_the_index_lies_beside_the_run_and_holds_every_finished_episode(run: Path, viewer: Viewer) -> None:
    with watch_session(run) as session:
        assert (run / FILE).is_file()
        assert viewer.places[0].index.find(Query()).count == session.journal.tally.episodes.total() == 6


def test_run_db_is_not_written(run: Path, viewer: Viewer) -> None:
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        before = list(db.iterdump())
        viewer.places[0].indexer.step()
        assert list(db.iterdump()) == before


def test_a_run_where_no_index_can_be_written_is_indexed_elsewhere(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("view.db*"))
    (tmp_path / "run" / FILE).mkdir()
    with watch_session(tmp_path / "run") as session:
        index = Index(session)
        indexer = Indexer(session, index)
        while indexer.step():
            pass
        assert tmp_path not in index.path.parents and index.find(Query()).count == 6
        index.close()
        assert not index.path.exists()


@pytest.mark.parametrize("name", [*QUEUES, ""])
@pytest.mark.parametrize("sort", [*SORTS, ""])
def test_every_queue_can_be_sorted_in_every_way(viewer: Viewer, name: str, sort: str) -> None:
    assert viewer.places[0].index.find(Query(queue=name, sort=sort)).count <= 6


@pytest.mark.parametrize("text", ['"', "a AND (", "*", "NEAR(", "x'; DROP TABLE episodes", "\0", "-", "col:on"])
def test_a_search_text_is_never_read_as_an_expression(viewer: Viewer, text: str) -> None:
    viewer.places[0].index.find(Query(text=text))
    assert viewer.places[0].index.find(Query()).count == 6


def test_a_list_is_asked_for_by_its_address_and_back(viewer: Viewer) -> None:
    query = query_of({"text": "sun", "round": "1", "kept": "kept", "min_spread": "0.5", "page": "2", "sort": "best"})
    assert query == Query(text="sun", round=1, kept="kept", min_spread=0.5, page=2, sort="best")
    assert query_of({"round": "x", "page": "-3", "min_spread": "nan"}) == Query()
    assert address(query, 1) == "text=sun&round=1&kept=kept&min_spread=0.5&sort=best"


def test_episodes_that_were_played_again_are_shown_as_they_are_now(run: Path, tmp_path: Path) -> None:
    """They come to lie in the rows that they had, and there are as many as before."""
    again, refused = copy_run(run, tmp_path / "again"), Failure(stage="solver", reason="refused", detail="")
    (again / FILE).unlink(missing_ok=True)
    with Journal.open(again / "run.db") as journal:
        were = list(journal.episodes(1))
        for reason in {episode.failure.reason if episode.failure else "" for episode in were}:
            journal.forget_episodes(reason)
        for episode in were:
            journal.record_episode(episode.model_copy(update={"failure": refused, "evaluations": ()}))
    labels.add(again, [Label(episode=were[0].id, kind="mark", author="cy", time=labels.now(), mark="bad_criterion")])

    def looked_at() -> dict[str, tuple[str, int]]:
        viewer = Viewer([again])
        while viewer.places[0].indexer.step():
            pass
        return {entry.id: (entry.lost, entry.labels) for entry in viewer.places[0].index.find(Query()).entries}

    assert {lost for lost, _ in looked_at().values()} == {"solver.refused"}
    with Journal.open(again / "run.db") as journal:
        journal.forget_episodes("refused")
        for episode in were:
            journal.record_episode(episode)
    now = looked_at()
    assert "" in {lost for lost, _ in now.values()} and "solver.refused" not in {lost for lost, _ in now.values()}
    assert now[were[0].id][1] == 1


def test_an_episode_in_the_row_of_one_that_was_refused_again_is_found(run: Path, tmp_path: Path) -> None:
    again, refused = copy_run(run, tmp_path / "again"), Failure(stage="solver", reason="refused", detail="")
    (again / FILE).unlink(missing_ok=True)
    with Journal.open(again / "run.db") as journal:
        *_, other, last = were = list(journal.episodes(1))
        for episode in were:
            journal.forget_episodes(episode.failure.reason if episode.failure else "")
        journal.record_episode(last.model_copy(update={"failure": refused, "evaluations": ()}))
    viewer = Viewer([again])
    viewer.places[0].indexer.step()
    with Journal.open(again / "run.db") as journal:  # as a resume does: those refused before come last
        journal.forget_episodes("refused")
        journal.record_episode(other)
        journal.record_episode(last.model_copy(update={"failure": refused, "evaluations": ()}))
    while viewer.places[0].indexer.step():
        pass
    assert {entry.id for entry in viewer.places[0].index.find(Query()).entries} == {other.id, last.id}


def test_search_finds_the_words_of_problem_and_answers(viewer: Viewer) -> None:
    index = viewer.places[0].index
    entry = next(entry for entry in index.find(Query()).entries if entry.problem)
    words = " ".join(re.findall(r"\w+", entry.problem)[:3])
    assert entry.id in {found.id for found in index.find(Query(text=words)).entries}
    assert index.find(Query(text="zebra crossing")).count == 0


def test_every_prompt_is_filled_again_exactly(run: Path) -> None:
    looked = Run(run)
    with looked.look() as session:
        for id_ in sorted(session.journal.finished_episodes(1)):
            shown = show(session, id_)
            assert shown is not None
            for called in shown.calls[::5]:
                again = filled(shown, called)
                assert again is not None and again.exact, (called.key, called.call.reason)


def test_pages_of_every_episode_and_call_are_there(client: TestClient, viewer: Viewer) -> None:
    for entry in viewer.places[0].index.find(Query()).entries:
        page = client.get("/run/0/episode", params={"id": entry.id, "from": "kept=kept", "cell": "0.1"})
        assert page.status_code == 200
        assert ("Why was this dropped?" in page.text) == bool(entry.lost)
        call = re.search(r'href="(/run/0/call\?[^"]+)"', page.text)
        assert call is not None
        assert "Exactly what was asked" in client.get(call[1].replace("&amp;", "&")).text


def test_an_open_cell_shows_the_judges_words_beside_the_answer(client: TestClient, kept: str, viewer: Viewer) -> None:
    with viewer.places[0].run.look() as session:
        shown = show(session, kept)
    assert shown is not None and shown.episode.rubric is not None
    candidate = shown.episode.evaluations[0].candidate
    page = client.get("/run/0/episode", params={"id": kept, "cell": f"{candidate}.1"}).text
    assert f"Candidate {candidate} on “{shown.episode.rubric.criteria[0].name}”" in page


@pytest.mark.parametrize("page", ("/run/0?queue=close", "/compare?a=0&b=1", "/run/0/live", "/static/viewer.css", "/"))
def test_other_pages_are_there(client: TestClient, page: str) -> None:
    assert client.get(page).status_code == 200


def test_two_runs_are_compared_on_the_documents_that_both_have(client: TestClient, kept: str) -> None:
    page = client.get("/compare?a=0&b=1").text
    assert "6 documents" in page and "+0.0 [" in page
    beside = client.get("/compare/episode", params={"a": 0, "b": 1, "ida": kept, "idb": kept})
    assert beside.status_code == 200 and "<mark>" not in beside.text


@pytest.mark.parametrize(
    "page",
    (
        "/run/9",
        "/run/0/episode?id=../../etc/passwd",
        "/run/0/call?id=1/x/0&role=judge",
        "/static/app.py",
        "/static/..%2fapp.py",
        "/x",
    ),
)
def test_what_is_not_there_is_said_so(client: TestClient, page: str) -> None:
    assert client.get(page).status_code == 404


def test_every_answer_carries_a_strict_policy_and_no_inline_script(client: TestClient, kept: str) -> None:
    for page in ("/run/0", f"/run/0/episode?id={kept}", "/run/0/label", "/nope"):
        answer = client.get(page)
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"<script(?! src=)|\son\w+=|\sstyle=|<style", answer.text)


@pytest.mark.parametrize("host", ("evil.example", "testserver.evil.example", "", "127.0.0.1"))
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/run/0", headers={"host": host}).status_code == 400


def test_beyond_loopback_a_token_is_asked_for(viewer: Viewer) -> None:
    client = TestClient(viewer.app((), "secret"), follow_redirects=False)
    assert client.get("/run/0").status_code == 403
    assert client.get("/run/0?token=wrong").status_code == 403
    let_in = client.get("/run/0?token=secret&kept=kept")
    assert let_in.status_code == 303 and let_in.headers["location"] == "/run/0?kept=kept"
    assert "HttpOnly" in let_in.headers["set-cookie"] and "samesite=strict" in let_in.headers["set-cookie"].lower()
    assert client.get("/run/0").status_code == 200  # by the cookie


def test_which_addresses_are_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.1", "example.com")))


@pytest.fixture
def outcomes(run: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A viewer of a run, an evaluation and a duel."""
    for name, result in (("eval", eval_result("<b>m</b>")), ("duel", duel_result("<b>m</b>"))):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(result.to_json(), encoding="utf-8")
    row = {"id": "1", "prompt": "<i>why</i>", "a": "since it <u>is</u>", "b": "it is not", "preference": 0.5, "flipped": True}
    lost = {**row, "preference": None, "forfeit": "a", "lost": ""}
    lines = [json.dumps(line) for line in (row | {"forfeit": "", "lost": ""}, lost)]
    (tmp_path / "duel" / "items.jsonl").write_text("\n".join(lines), encoding="utf-8")
    viewer = Viewer([run, tmp_path / "eval", tmp_path / "duel"])
    with TestClient(viewer.app(["testserver"]), follow_redirects=False) as client:
        yield client


def test_directories_of_pop_eval_and_pop_duel_have_pages_and_stand_in_the_comparison(outcomes: TestClient) -> None:
    home = outcomes.get("/").text
    assert 'href="/beside/0"' in home and 'href="/beside/1"' in home
    evaluation, duel, compared = (outcomes.get(page).text for page in ("/beside/0", "/beside/1", "/compare"))
    assert "accuracy" in evaluation and "wins / ties / losses" in duel and "no verdict: a" in duel
    assert "preference for a: 0.5, flips with the order" in duel and "&lt;u&gt;" in duel
    assert "accuracy" in compared and "wins / ties / losses" in compared
    for page in (home, evaluation, duel, compared):
        assert not re.search("<(b|i|u)>", page)
    assert outcomes.get("/beside/2").status_code == 404 and outcomes.get("/beside/1?page=9").status_code == 200


def test_runs_of_several_domains_can_be_looked_at_by_domain(run: Path, tmp_path: Path) -> None:
    other = copy_run(run, tmp_path / "other")
    domain = json.loads((other / "domain.json").read_text(encoding="utf-8"))
    (other / "domain.json").write_text(json.dumps(domain | {"name": "brewing"}), encoding="utf-8")
    viewer = Viewer([run, other])
    with TestClient(viewer.app(["testserver"]), follow_redirects=False) as client:
        everything, brewing = client.get("/").text, client.get("/?domain=brewing").text
    assert "all domains" in everything and 'href="/run/0/label"' in everything
    assert 'href="/run/0/label"' not in brewing and 'href="/run/1/label"' in brewing


def test_runs_are_compared_by_the_words_of_their_problems_too(viewer: Viewer, client: TestClient) -> None:
    with viewer.places[0].run.look() as session:
        texts = {e.problem.text for e in session.journal.episodes(1) if e.problem}
    assert f"{len(texts)} problems, word by word, are in both" in client.get("/compare?a=0&b=1&by=problem").text


def shown_first(page: str) -> str:
    found = re.search(r'name="first" value="(\d+)"', page)
    assert found is not None
    return found[1]


def secret_of(page: str) -> str:
    found = re.search(r'name="secret" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_labelling_is_blind(client: TestClient, kept: str, viewer: Viewer) -> None:
    with viewer.places[0].run.look() as session:
        shown = show(session, kept)
    assert shown is not None and shown.extremes is not None
    page = client.get("/run/0/label", params={"id": kept}).text
    assert "score" not in page.replace("Scores, and which", "").lower()
    orders = {
        page.index("Answer A") < page.index(shown.answer(shown.extremes[0])[:30]) < page.index("Answer B")
        for page in (client.get("/run/0/label", params={"id": kept, "author": f"person {n}"}).text for n in range(12))
    }
    assert orders == {True, False}  # which side the chosen answer is on tells nothing


def test_a_filled_form_becomes_labels_and_the_episode_is_shown(client: TestClient, kept: str, run: Path) -> None:
    page = client.get("/run/0/label", params={"id": kept}).text
    first = int(shown_first(page))
    form = {
        "secret": secret_of(page),
        "id": kept,
        "first": str(first),
        "better": "first",
        "rating-first-0": "2",
        "mark-wrong_gold": "1",
        "author": "bob",
        "note": "ü",
    }
    saved = client.post("/run/0/label", data=form)
    assert saved.status_code == 303 and "/run/0/episode?" in saved.headers["location"]
    given = [label for label in labels.read(run) if label.author == "bob"]
    assert {(label.kind, label.better, label.rating, label.mark, label.note) for label in given} == {
        ("preference", "first", None, None, "ü"),
        ("rating", None, 2, None, "ü"),
        ("mark", None, None, "wrong_gold", "ü"),
    }
    assert {label.candidate for label in given if label.kind != "mark"} == {first}
    shown = client.get(saved.headers["location"]).text
    assert "<b>bob</b>" in shown


@pytest.mark.parametrize("author", [f"person {n}" for n in range(6)])
def test_a_label_is_of_the_answers_that_the_form_showed_whoever_signs_it(
    client: TestClient, kept: str, run: Path, author: str
) -> None:
    """The form is drawn for the viewer's own name, and signed with another one: half of those would have the other order."""
    page = client.get("/run/0/label", params={"id": kept}).text
    first = int(shown_first(page))
    form = {"secret": secret_of(page), "id": kept, "first": str(first), "better": "first", "author": author}
    assert client.post("/run/0/label", data=form).status_code == 303
    (label,) = [label for label in labels.read(run) if label.author == author]
    assert (label.candidate, label.better) == (first, "first")


def test_the_next_one_is_labelled_under_the_same_name(run: Path, kept: str) -> None:
    viewer = Viewer([run], author="ann", label_first=True)
    while viewer.places[0].indexer.step():
        pass
    labels.add(run, [Label(episode=kept, kind="mark", author="Zoë", time=labels.now(), mark="bad_criterion")])
    with TestClient(viewer.app(["testserver"]), follow_redirects=False) as client:
        page = client.get("/run/0/episode", params={"id": kept, "author": "Zoë"}).text
    assert 'href="/run/0/label?author=Zo%C3%AB"' in page


def test_a_note_alone_is_told_and_not_thrown_away_in_silence(client: TestClient, kept: str, run: Path) -> None:
    before, page = labels.read(run), client.get("/run/0/label", params={"id": kept}).text
    given = {"secret": secret_of(page), "id": kept, "first": shown_first(page), "note": "hm"}
    refused = client.post("/run/0/label", data=given)
    assert refused.status_code == 400 and "a note alone is no label" in refused.text and labels.read(run) == before


@pytest.mark.parametrize(
    "address",
    [
        "/run/0?round=nan",
        "/run/0?page=nan",
        f"/run/0/episode?cell={'9' * 5000}.1",
        f"/compare?ra={'9' * 5000}&rb=x&page={'9' * 5000}",
        "/compare?a=0000009",
        f"/compare?a={'9' * 5000}",
        "/compare?ra=0&rb=0",
    ],
)
def test_an_address_that_makes_no_sense_is_no_error_of_the_viewer(client: TestClient, kept: str, address: str) -> None:
    address = address.replace("episode?", f"episode?id={quote(kept)}&")
    assert client.get(address).status_code in (200, 404)


def test_a_form_from_elsewhere_or_with_other_answers_is_refused(client: TestClient, kept: str, run: Path) -> None:
    before = labels.read(run)
    secret = secret_of(client.get("/run/0/label", params={"id": kept}).text)
    assert client.post("/run/0/label", data={"id": kept, "better": "first"}).status_code == 403
    assert client.post("/run/0/label", data={"secret": secret, "id": kept, "first": "0", "better": "both"}).status_code == 400
    assert client.post("/run/0/label", data={"secret": secret, "id": kept, "first": "99", "better": "first"}).status_code == 400
    assert client.post("/run/0/label", data={"secret": secret, "id": kept, "better": "first"}).status_code == 400
    assert client.post("/run/0/label", data={"secret": secret, "id": "1/x/0", "better": "first"}).status_code == 404
    assert labels.read(run) == before


def test_labels_are_counted_in_the_list(viewer: Viewer, run: Path) -> None:
    place = viewer.places[0]
    entry = place.index.find(Query(labelled="no")).entries[0]
    labels.add(run, [Label(episode=entry.id, kind="mark", author="cy", time=labels.now(), mark="bad_criterion")])
    place.indexer.step()
    assert entry.id in {found.id for found in place.index.find(Query(labelled="yes")).entries}


def test_the_address_takes_visitors_from_the_moment_it_is_told(run: Path) -> None:
    def visit(address: str) -> None:
        with socket.create_connection((urlsplit(address).hostname, urlsplit(address).port), timeout=5):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        serve(Viewer([run]), "127.0.0.1", 0, visit)


def test_ctrl_c_is_how_one_leaves_the_viewer_and_no_stopped_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def leave(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pop_selfplay.viewer.app.serve", leave)
    assert cli.run(["view", str(run)]) == 0 and capfd.readouterr().err == ""
