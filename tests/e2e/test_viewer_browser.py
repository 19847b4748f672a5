"""The viewer in a real browser: every page, hostile texts, the keyboard, and what an accessibility check finds.

Needs Chromium (Debian's package `chromium`); skips where there is none.
"""

import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pop_selfplay.viewer.app import Viewer
from pop_selfplay.viewer.index import Query
from tests.integration.runs import small_run

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
    with sqlite3.connect(run / "run.db") as db:
        quoted = HOSTILE.replace('"', '\\"')
        db.execute("""UPDATE episodes SET record = replace(record, '"text":"', '"text":"' || ?)""", (quoted,))
        db.execute("""UPDATE episodes SET record = replace(record, '"gold":"', '"gold":"' || ?)""", (quoted,))
        db.execute("UPDATE calls SET text = replace(text, '<answer>', '<answer>' || ?)", (HOSTILE.replace("\\\\", "\\"),))
    return run


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    viewer = Viewer([run])
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(viewer.app(["127.0.0.1"]), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    viewer.start()
    viewer.places[0].indexer.done.wait(60)
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
    for place in ("/run/0", f"/run/0/episode?id={kept}&cell=0.1", f"/run/0/label?id={kept}", "/compare", "/run/0?kept=dropped"):
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


@pytest.mark.parametrize("width", (1280, 390))
def test_no_page_is_wider_than_the_screen(browser: Any, address: str, kept: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    for place in ("/run/0", f"/run/0/episode?id={kept}&cell=0.1", f"/run/0/label?id={kept}", "/compare"):
        page.goto(address + place)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), place
    page.close()


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
