"""The viewer in a real browser: every page, hostile texts, the keyboard, and what an accessibility check finds.

Needs Chromium (Debian's package `chromium`); skips where there is none.
"""

import contextlib
import json
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn

from pop_selfplay import run as play
from pop_selfplay.errors import NothingMade
from pop_selfplay.journal.files import take_lock
from pop_selfplay.viewer.app import Viewer
from pop_selfplay.viewer.index import Query
from tests.integration.runs import copy_run, simulated_config, small_run, write_texts
from tests.unit.report.makers import duel_result, eval_result

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium here: apt-get install chromium")
QUIET = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync""".split()
HOSTILE = (
    "<script>window.hacked=1</script><img src=x onerror=window.hacked=1> [x](javascript:window.hacked=1) "
    "$\\\\text{<img src=x onerror=window.hacked=1>}$ ![i](http://127.0.0.1:9/pixel.png) </div></main><h1>"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose problems, rubrics and completions all hold hostile text."""
    run = small_run(tmp_path_factory.mktemp("browser"))
    with closing(sqlite3.connect(run / "run.db")) as db, db:
        quoted = HOSTILE.replace('"', '\\"')
        db.execute("""UPDATE episodes SET record = replace(record, '"text":"', '"text":"' || ?)""", (quoted,))
        db.execute("""UPDATE episodes SET record = replace(record, '"gold":"', '"gold":"' || ?)""", (quoted,))
        db.execute("UPDATE calls SET text = replace(text, '<answer>', '<answer>' || ?)", (HOSTILE.replace("\\\\", "\\"),))
    return run


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that lost most of its episodes."""
    folder = tmp_path_factory.mktemp("failing")
    config = simulated_config(write_texts(folder / "texts", 8), documents=6, candidates=4)
    model = {**config.model.model_dump(), "malformed_rate": 0.7}
    strict = config.synthesis.changed({"solver": {"attempts": 1}, "judge": {"attempts": 1}, "proposer": {"attempts": 2}})
    with contextlib.suppress(NothingMade):
        play(config.changed({"model": model, "synthesis": strict}), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def going_on(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of which half is finished, and on which a process works."""
    path = copy_run(run, tmp_path_factory.mktemp("going") / "on")
    for index in path.glob("view.db*"):
        index.unlink()
    with closing(sqlite3.connect(path / "run.db")) as db, db:
        db.execute("CREATE TABLE later AS SELECT * FROM episodes WHERE rowid > 3")
        db.execute("DELETE FROM episodes WHERE rowid > 3")
    with take_lock(path / "run.lock"):
        yield path


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An evaluation and a duel, in which everything that others wrote is hostile text."""
    folder = tmp_path_factory.mktemp("outcomes")
    for name, result in (("eval", eval_result(HOSTILE)), ("duel", duel_result(HOSTILE))):
        (folder / name).mkdir()
        (folder / name / f"{name}.json").write_text(result.to_json(), encoding="utf-8")
    item = {
        "prompt": HOSTILE,
        "a": HOSTILE,
        "b": f"not {HOSTILE}",
        "preference": 0.5,
        "flipped": True,
        "lost": "",
        "forfeit": "",
    }
    (folder / "duel" / "items.jsonl").write_text(json.dumps(item), encoding="utf-8")
    return [folder / "eval", folder / "duel"]


@pytest.fixture(scope="module")
def address(run: Path, failing: Path, going_on: Path, outcomes: list[Path]) -> Iterator[str]:
    viewer = Viewer([run, failing, going_on, *outcomes])
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(viewer.app(["127.0.0.1"]), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    viewer.start()
    for place in viewer.places:
        place.indexer.done.wait(60)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    viewer.stop()
    bound.close()


@pytest.fixture(scope="module")
def browser(address: str, kept: str) -> Iterator[Any]:
    """Opened after the run was played: playwright keeps an event loop in this thread."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, headless=True, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def kept(run: Path, address: str) -> str:
    viewer = Viewer([run])
    return viewer.places[0].index.find(Query(kept="kept")).entries[0].id


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.said = []
    page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()


def test_hostile_texts_render_inert_on_every_page(page: Any, address: str, kept: str) -> None:
    episode = (f"/run/0/episode?id={kept}&cell=0.1", f"/run/0/label?id={kept}")
    for place in ("/run/0", *episode, "/compare", "/run/0?kept=dropped", "/", "/beside/0", "/beside/1"):
        page.goto(address + place)
        assert page.evaluate("window.hacked") is None
        assert (
            page.locator("main h1").count() == 1
            and page.locator("main img, main script, main a[href^=javascript]").count() == 0
        )
        assert page.said == [], place
    assert all(url.startswith(address) or url == "data:," for url in page.asked)
    page.goto(f"{address}/run/0/episode?id={kept}")
    for link in [a.get_attribute("href") for a in page.locator("a[href*='/call?']").all()][::9]:
        page.goto(address + link)
        assert page.evaluate("window.hacked") is None and page.said == []


@pytest.fixture(scope="module")
def places(kept: str, failing: Path) -> tuple[str, ...]:
    """An address of every kind of page, of runs with hostile texts, with failures, and under way."""
    lost = quote(Viewer([failing]).places[0].index.find(Query(kept="dropped")).entries[0].id)
    call = f"/run/0/call?id={quote(kept)}&role=judge&item=0&attempt=0"
    lists = ("/run/0?queue=close", "/run/1?kept=dropped", "/run/2")
    episodes = (f"/run/0/episode?id={quote(kept)}&cell=0.1", f"/run/1/episode?id={lost}")
    return (
        "/",
        *lists,
        *episodes,
        call,
        f"/run/0/label?id={quote(kept)}",
        "/compare?a=0&b=2",
        f"/compare/episode?a=0&b=0&ida={quote(kept)}&idb={quote(kept)}",
        "/beside/0",
        "/beside/1",
        "/nope",
    )


SCREENS = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}


@pytest.mark.parametrize("screen", SCREENS)
def test_every_page_fits_its_screen_and_axe_finds_nothing_serious(
    browser: Any, address: str, places: tuple[str, ...], screen: str
) -> None:
    width, scheme = SCREENS[screen]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    axe = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
    only = {"runOnly": ["color-contrast"]} if screen == "dark" else {}
    for place in places:
        page.goto(address + place)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), place
        page.evaluate(axe)
        found = page.evaluate("options => axe.run(document, {resultTypes: ['violations'], ...options})", only)
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in serious] == [], place
    page.close()


def test_a_run_with_failures_says_what_was_lost_and_why(page: Any, address: str) -> None:
    page.goto(f"{address}/run/1?kept=dropped")
    assert page.locator("tbody .lost").count() > 0
    page.locator("a.row").first.click()
    page.wait_for_url("**/episode?**")
    assert page.get_by_role("heading", name="Why was this dropped?").count() == 1
    assert page.said == []


def test_a_run_under_way_says_so_and_offers_what_is_new(page: Any, address: str, going_on: Path) -> None:
    page.goto(f"{address}/run/2")
    assert "a process is working on it" in page.locator(".standing").inner_text()
    assert page.locator("a.row").count() == 3 and not page.locator("#fresh").is_visible()
    with closing(sqlite3.connect(going_on / "run.db")) as db, db:
        db.execute("INSERT INTO episodes SELECT * FROM later LIMIT 1")
    page.locator("#fresh").wait_for(state="visible", timeout=15_000)
    page.locator("#fresh").click()
    page.wait_for_function("document.querySelectorAll('a.row').length >= 3")


def test_the_list_and_an_episode_are_worked_by_keys_alone(page: Any, address: str) -> None:
    page.goto(f"{address}/run/0?kept=kept")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/episode?**")
    first = page.url
    page.locator("a.cell").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#cell h2")
    assert "cell=" in page.url
    page.keyboard.press("j")
    page.wait_for_url(lambda url: url.split("&cell")[0] != first and "episode" in url)
    page.keyboard.press("l")
    page.wait_for_url("**/label?**")
    page.keyboard.press("a")
    assert page.locator("input[name=better][value=first]").is_checked()
    page.locator("button.primary").press("Enter")
    page.wait_for_url("**/episode?**")
    assert page.get_by_role("heading", name="Labels").count() == 1
