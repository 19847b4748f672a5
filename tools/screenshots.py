"""The screenshots of docs/viewer.md, from a finished quickstart run in headless Chromium.

python -m tools.screenshots runs/quickstart-seed5 [another run, as pop rejudge makes it]

With another run, the comparison of both is taken, too.
"""

import shutil
import socket
import sys
import threading
import time
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from pop_selfplay.viewer.app import Viewer
from pop_selfplay.viewer.index import Query

DOCS = Path(__file__).parents[1] / "docs"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-sync",
]


def main(runs: list[Path]) -> None:
    """Take the list, an episode and a comparison, at the width of a page of the docs."""
    viewer = Viewer(runs)
    viewer.start()
    for run in viewer.places:
        run.indexer.done.wait()
    widest = viewer.places[0].index.find(Query(sort="spread")).entries[0].id
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(viewer.app(["127.0.0.1"]), log_level="warning"))
        threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
        while not server.started:
            time.sleep(0.01)
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        places = {"list": "/run/0?queue=close", "episode": f"/run/0/episode?id={widest}&cell=0.1"}
        if len(runs) > 1:
            places["compare"] = "/compare?a=0&b=1"
        with sync_playwright() as started:
            browser = started.chromium.launch(executable_path=shutil.which("chromium"), headless=True, args=QUIET)
            page = browser.new_page(viewport={"width": 1000, "height": 640})
            for name, place in places.items():
                page.goto(address + place)
                page.screenshot(path=DOCS / f"viewer_{name}.png")
            browser.close()
        server.should_exit = True
    viewer.stop()


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
