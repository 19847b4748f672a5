"""A small run on a real server of somebody else: `transformers serve` with the pocket model.

It ignores `n`, gives no Retry-After and no cached tokens, keeps the stop string in the text, and samples only where the model's
own generation config says so.
"""

import json
import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.forked import Forking

import pop_selfplay as pop
from pop_selfplay.config import EndpointModel, NoTraining, RunConfig
from pop_selfplay.journal import Journal
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket.quickstart import quickstart_config

START_S = 200
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def sampling_pocket_model(folder: Path) -> Path:
    """Copy the pocket model, told to sample as it is asked and no other way."""
    model = folder / "pocket"
    shutil.copytree(POCKET_WEIGHTS, model)
    path = model / "generation_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"do_sample": True, "top_k": 0}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return model


@pytest.fixture
def base_url(tmp_path: Path, forked: Forking) -> Iterator[str]:
    """Serve the pocket model and yield the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    model = sampling_pocket_model(tmp_path)
    serve = "from transformers.cli.transformers import main; main()"
    server = forked.start(serve, "serve", model, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu")
    try:
        deadline = time.monotonic() + START_S
        while not healthy(port):
            assert server.runs() and time.monotonic() < deadline, server.said()[-2000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        if server.runs():
            os.kill(server.pid, signal.SIGTERM)
        server.wait()


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def served_config(base_url: str, model: Path) -> RunConfig:
    config = quickstart_config(seed=5)
    synthesis = config.synthesis.model_copy(update={"documents": 3, "candidates": 4})
    return config.model_copy(
        update={
            "model": EndpointModel(base_url=base_url, model=str(model), patience_s=30),
            "synthesis": synthesis,
            "training": NoTraining(),
        }
    )


def test_a_run_on_transformers_serve_makes_pairs(tmp_path: Path, base_url: str) -> None:
    pop.run(served_config(base_url, tmp_path / "pocket"), tmp_path / "run")
    with Journal.open_to_read(tmp_path / "run" / "run.db") as journal:
        tally, episodes = journal.tally, list(journal.episodes(1))
    assert len(episodes) == 3
    scored = [episode for episode in episodes if episode.failure is None]
    assert scored and all(len(episode.candidates) > 1 for episode in scored)
    assert any(len(Counter(c.answer for c in episode.candidates)) > 1 for episode in scored), "the candidates are all alike"
    for role, reasons in tally.calls_by_role().items():
        assert reasons["valid"] >= reasons.total() / 2, (role, reasons)
    assert tally.total_tokens("prompt") > 0 and tally.total_tokens("generated") > 0
