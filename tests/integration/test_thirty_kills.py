"""The drill: thirty kills at random moments, over a faulty server, change no pair and repeat no finished work.

Once with all candidates of a problem in one call, and once, with fewer kills, in a call for each.
"""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.config import RunConfig, SimulatedModel, dump_config
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import HttpFaults, serving, simulated_app
from pop_selfplay.seeds import derive_seed
from tests.integration.nursery import nursery
from tests.integration.runs import simulated_config, write_texts

KILLS = 30
PROBE_SEED = 1
FAULTS = HttpFaults(seed=3, error_rate=0.05, drop_rate=0.05)
SIMULATED = SimulatedModel(malformed_rate=0.1, seconds_per_call=0.01)


class Remembering(SimulatedChatModel):
    """The simulated model, with the seeds of all requests that it has answered."""

    def __init__(self) -> None:
        super().__init__(SIMULATED)
        self.answered: list[int] = []

    async def complete(self, request: ChatRequest) -> Completion:
        completion = await super().complete(request)
        self.answered.append(request.seed)
        return completion


def served_config(texts: Path, base_url: str, n: str) -> RunConfig:
    config = simulated_config(texts, documents=20).model_dump()
    config["model"] = {"type": "endpoint", "base_url": base_url, "model": "simulated", "patience_s": 60, "n": n}
    return RunConfig.model_validate(config)


def finished_work(run: Path, seed: int) -> tuple[set[int], set[tuple[str, str]]]:
    """Return the seeds, as they are sent, of all finished calls, and all finished episodes with their records."""
    with closing(sqlite3.connect(f"{(run / 'run.db').as_uri()}?mode=ro", uri=True)) as db:
        calls = db.execute("SELECT episode, role, item, attempt FROM calls").fetchall()
        episodes = set(db.execute("SELECT id, record FROM episodes"))
    return {derive_seed(seed, *call) % (2**31 - 1) for call in calls}, episodes


@pytest.mark.slow
@pytest.mark.timeout(300)  # thirty runs, on a machine that may have other work
@pytest.mark.parametrize(("n", "wanted"), [("auto", KILLS), ("never", KILLS // 3)])
def test_thirty_kills_change_no_pair_and_repeat_no_finished_work(tmp_path: Path, n: str, wanted: int) -> None:
    texts, run, undisturbed = write_texts(tmp_path / "texts", 30), tmp_path / "run", tmp_path / "undisturbed"
    model = Remembering()
    with serving(simulated_app(model, faults=FAULTS)) as base_url:
        config = served_config(texts, base_url, n)
        pop.run(config, undisturbed)
    other_seeds = set(model.answered) - finished_work(undisturbed, config.seed)[0] - {PROBE_SEED}
    assert bool(other_seeds) == (n == "auto"), "all answers of a call but the first have seeds of the server's own"
    with closing(sqlite3.connect(undisturbed / "run.db")) as db:
        total = db.execute("SELECT count(*) FROM calls").fetchone()[0]
    model, kills = Remembering(), 0
    with serving(simulated_app(model, faults=FAULTS)) as base_url, nursery(tmp_path / "said.txt") as processes:
        config = served_config(texts, base_url, n)
        (tmp_path / "c.yaml").write_text(dump_config(config), encoding="utf-8")
        calls, episodes = set[int](), set[tuple[str, str]]()
        for moment in [*sorted(random.Random(11).sample(range(1, total - 10), wanted)), 10**9]:
            model.answered.clear()
            kills += processes.kill_at(run, moment, "run", tmp_path / "c.yaml", "--out", run)
            assert calls.isdisjoint(model.answered), "a finished call was made again"
            calls_now, episodes_now = finished_work(run, config.seed)
            assert calls <= calls_now and episodes <= episodes_now, "finished work was lost or done again"
            calls, episodes = calls_now, episodes_now
    assert kills == wanted and len(calls) == total
    for out in (run, undisturbed):
        pop.export(out, out / "pairs.jsonl")
    assert (run / "pairs.jsonl").read_bytes() == (undisturbed / "pairs.jsonl").read_bytes() != b""
    assert episodes == finished_work(undisturbed, config.seed)[1]
