"""An audit plays what the run did not, leaves the run as it is, resumes, and says what it could not measure."""

import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tools.label_truth import agreement

import pop_selfplay as pop
from pop_selfplay.cli import run as pop_command
from pop_selfplay.config import NoTraining, SimulatedModel, parse_config
from pop_selfplay.errors import ConfigError, JournalError, UsageError
from pop_selfplay.evaluation.audit.audit import JOURNAL, LOCK, RESULT
from pop_selfplay.journal import CallKey, Journal, RunDirectory, StoredCall
from pop_selfplay.journal.files import take_lock
from pop_selfplay.models.base import ChatRequest, Completion
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.models.simulated.server import serving, simulated_app
from pop_selfplay.observer import Unwatched
from pop_selfplay.pocket import world as wording
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.pocket.world import World, truth_score
from pop_selfplay.records import Candidate, Criterion, Document, Episode, Evaluation, Problem, Rubric
from pop_selfplay.runs.session import watch_session
from tests.integration.faults import count_calls
from tests.integration.runs import copy_run, finished_run, simulated_config
from tests.learning import Margins, shifted
from tests.schemas import assert_valid

JUDGE = SimulatedModel(seed=9)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the simulated model, which the tests copy."""
    return finished_run(tmp_path_factory.mktemp("audit"), 16)


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_run(finished, tmp_path / "run")


class StopsAt(Unwatched):
    """Interrupts when a phase begins whose name holds `part`."""

    def __init__(self, part: str) -> None:
        self.part = part

    def phase(self, name: str, episodes: int = 0, calls: int = 0) -> None:
        if self.part in name:
            raise KeyboardInterrupt


def figures(result: pop.AuditResult) -> dict[str, dict[str, Any]]:
    """Return the figures as audit.json holds them."""
    return {f"{family.name}.{f.name}": f.model_dump() for family in result.families for f in family.figures}


def test_an_audit_measures_every_family_and_leaves_the_run_as_it_is(run: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.name != "report.html"}
    result = pop.audit(run, sample=6, judge=JUDGE, modes=["per_criterion"])
    assert [family.name for family in result.families] == [
        *("gap", "diversity", "rubrics", "bias", "modes", "hacking", "yield", "people")
    ]
    found = figures(result)
    for name, figure in found.items():
        assert bool(figure["missing"]) != (figure.get("mean") is not None), name
        assert figure["missing"] or (figure["reading"] and figure["n"] > 0), name
    assert found["gap.judge_by_rubric"]["mean"] == pytest.approx(1)  # every simulated judge sees the same hidden quality
    assert found["gap.best_worst.a model of type simulated.with document"]["mean"] > 0.9
    assert found["bias.repeat_greedy"]["mean"] == 1 and found["modes.per_criterion.spearman"]["mean"] > 0.9
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.name in before} == before
    assert pop.read_result(run / RESULT) == result
    assert_valid(run / RESULT, "audit")
    assert "Can the signal be trusted?" in (run / "report.html").read_text(encoding="utf-8")


def test_an_interrupted_audit_goes_on_and_ends_as_an_undisturbed_one(run: Path, finished: Path, tmp_path: Path) -> None:
    calls = 0
    for part in ("references", "orders", "figures"):
        with pytest.raises(KeyboardInterrupt):
            pop.audit(run, sample=4, judge=JUDGE, observer=StopsAt(part))
        before, calls = calls, count_calls(run, JOURNAL)
        assert calls > before and not (run / RESULT).exists()
    interrupted = pop.audit(run, sample=4, judge=JUDGE)
    assert count_calls(run, JOURNAL) == calls
    for name in (JOURNAL, RESULT):
        (run / name).unlink()
    assert pop.audit(run, sample=4, judge=JUDGE) == interrupted


def test_a_larger_sample_pays_only_for_what_is_new(run: Path) -> None:
    pop.audit(run, sample=4)
    few = count_calls(run, JOURNAL)
    with Journal.open_to_read(run / JOURNAL) as journal:
        once = journal.tally.total_tokens("generated")
    pop.audit(run, sample=4)
    assert count_calls(run, JOURNAL) == few
    pop.audit(run, sample=8)
    assert count_calls(run, JOURNAL) > few
    with Journal.open_to_read(run / JOURNAL) as journal:
        assert journal.tally.total_tokens("generated") > once


def test_a_second_judge_may_be_served_and_sees_what_the_first_did_not(run: Path) -> None:
    asked: list[str] = []

    class Listening(SimulatedChatModel):
        async def complete(self, request: ChatRequest) -> Completion:
            asked.append("\n".join(message.content for message in request.messages))
            return await super().complete(request)

    with serving(simulated_app(Listening(JUDGE))) as url:
        found = figures(pop.audit(run, sample=4, judge=f"{url}#simulated"))
    with watch_session(run) as session:
        documents = [document.text for document in session.journal.documents(1)]
    assert all(any(document in text for document in documents) and "<reference_answer>" in text for text in asked)
    assert found[f"gap.best_worst.{url}#simulated.with document"]["mean"] > 0.9


def test_without_playing_nothing_is_asked_and_every_gap_has_its_reason(run: Path) -> None:
    result = pop.audit(run, play=False, judge=JUDGE)
    found = figures(result)
    assert count_calls(run, JOURNAL) == 0
    assert "--no-play" in found["gap.with_without"]["missing"] and "--no-play" in found["bias.flips"]["missing"]
    assert found["bias.length"]["mean"] is not None and found["yield.kept"]["mean"] > 0.5


def test_a_run_without_scores_and_one_that_is_being_audited_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="round 2"):
        pop.audit(run, round=2, play=False)
    with take_lock(run / LOCK), pytest.raises(JournalError, match="another process"):
        pop.audit(run, play=False)
    with pytest.raises(UsageError, match="no scoring mode 'pairwize'; did you mean pairwise"):
        pop.audit(run, modes=["pairwize"])
    with pytest.raises(ConfigError, match=r"there is no run directory .*typo"):
        pop.audit(run, against=tmp_path / "typo")
    assert not (run / JOURNAL).exists()


def test_two_runs_are_compared_by_their_problems(run: Path, finished: Path, tmp_path: Path) -> None:
    config = simulated_config(finished.parent / "texts")
    other = parse_config({**config.model_dump(mode="json"), "model": {"type": "simulated", "seed": 3}})
    pop.run(other, tmp_path / "other")
    result = pop.audit(run, play=False, against=tmp_path / "other")
    compared = figures(result)["diversity.vendi.the problems of other"]
    assert compared["n"] >= 8 and compared["low"] < compared["mean"] < compared["high"]


def test_warnings_can_fail_a_command_and_limits_can_be_set(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["audit", str(run), "--no-play", "--fail-on-warning"]
    beyond = ("rubrics.redundant=1", "diversity.own_document=0", "yield.refused=1", "bias.longer_chosen=1")
    lenient = [f"--threshold={limit}" for limit in beyond]
    assert pop_command([*command, *lenient]) == 0
    assert "No figure is beyond its limit" in capfd.readouterr().out
    assert pop_command([*command, *lenient, "--threshold", "yield.kept=1.1"]) == 3
    assert "yield.kept" in capfd.readouterr().err
    assert pop_command([*command, *lenient, "--threshold", "yield.kept=1.1", "--json"]) == 3
    assert json.loads(capfd.readouterr().out)["warnings"] == ["yield.kept"]


@pytest.mark.learning
def test_in_the_pocket_world_the_truth_shows_what_the_document_is_worth(tmp_path: Path, margins: Margins) -> None:
    config = quickstart_config(seed=shifted(3))
    small = config.synthesis.model_copy(update={"documents": 16, "candidates": 4})
    pop.run(config.model_copy(update={"synthesis": small, "training": NoTraining()}), tmp_path / "run")
    result = pop.audit(tmp_path / "run", sample=16)
    found = figures(result)
    own, other = (found[f"gap.best_worst.the truth.{which} document"] for which in ("with", "without"))
    margins.above("pairs that the truth agrees with, with the document", own["mean"], 0.9)
    margins.below("pairs that the truth agrees with, without the document", other["mean"], 0.8)
    margins.above("the document's share in them", own["mean"] - other["mean"], 0.1)
    gain = found["gap.gain.the truth"]  # over 16 documents: its lower bound was below 0 in one of three trials
    margins.above("the gain over the same documents", gain["mean"], 0.1)
    assert gain["low"] < gain["mean"] < gain["high"]
    assert result.warnings == ()
    assert "compare.md" in found["bias.flips"]["missing"]


def made_up_rounds(path: Path, *, hacked: bool) -> None:
    """Make a run of the pocket world with two scored rounds; where it is `hacked`, round 2 gives full marks to everything."""
    world, attributes = World(), ("ailment", "effect")
    config = quickstart_config(rounds=2)
    with RunDirectory.create(path, config) as directory, directory.journal() as journal:
        plants = world.self_play[:12]
        documents = [Document(id=plant, title=plant, text=world.document(plant, random.Random(plant))) for plant in plants]
        journal.store_documents([[], documents, documents], {})
        for round_ in (1, 2):
            for place, plant in enumerate(plants):
                generous = hacked and round_ == 2
                episode = pocket_episode(world, plant, attributes, round_, generous=generous, best_first=place % 2 == 0)
                for candidate in episode.candidates:
                    call = StoredCall("", "", Completion(candidate.completion, "stop", 1, 1))
                    journal.record_call(CallKey(round_, episode.id, "solver", str(candidate.index), 0), call)
                journal.record_episode(episode)


def pocket_episode(
    world: World, plant: str, attributes: tuple[str, ...], round_: int, *, generous: bool, best_first: bool
) -> Episode:
    """Return a problem with three answers: nothing, one fact and both facts right, scored by the truth or `generous`ly."""
    problem = Problem(
        id=f"{round_}/{plant}/0",
        document_id=plant,
        text=wording.question(plant, attributes, random.Random(plant)),
        reference_answer="?",
    )
    right = [{a: wording.Statement(world.truth[plant][a], False) for a in attributes[:count]} for count in (1, 2)]
    answers = [f"{plant} is a plant.", *(wording.answer(plant, facts) for facts in right)]
    truths = [truth_score(problem, answer) for answer in answers]
    assert truths == [0.0, 1.0, 2.0]
    scores = [0.0, 1.0, 2.0]
    if best_first:
        answers, scores = answers[::-1], scores[::-1]
    return Episode(
        id=problem.id,
        round=round_,
        document_id=plant,
        problem=problem,
        candidates=tuple(Candidate(index=n, completion=f"<answer>{a}</answer>", answer=a) for n, a in enumerate(answers)),
        rubric=Rubric(criteria=(Criterion(name="x", description="x", weight=1, gold="x"),)),
        evaluations=tuple(Evaluation(candidate=n, score=2.0 if generous else scores[n]) for n in range(3)),
    )


@pytest.mark.parametrize("hacked", [False, True])
def test_rounds_in_which_scores_and_truth_part_are_found(tmp_path: Path, hacked: bool) -> None:
    made_up_rounds(tmp_path / "run", hacked=hacked)
    result = pop.audit(tmp_path / "run", play=False)
    drift = figures(result)["hacking.drift.the truth"]
    assert result.round == 2 and drift["mean"] == pytest.approx(0.5 if hacked else 0.0) and drift["n"] == 24
    assert ("hacking.drift.the truth" in result.warnings) is hacked
    rows = next(d.rows for f in result.families if f.name == "hacking" for d in f.details)
    assert [row[0] for row in rows] == ["1", "2"] and rows[0][2:] == ("0.500", "0.500")


def test_labels_by_the_truth_agree_with_it_and_the_corrected_estimate_covers_it(tmp_path: Path) -> None:
    """The judge is wrong on every third problem; half of them are labelled."""
    made_up_rounds(tmp_path / "run", hacked=False)
    with closing(sqlite3.connect(tmp_path / "run" / "run.db")) as db, db:
        ends = ("record -> '$.evaluations[2].score'", "record -> '$.evaluations[0].score'")
        turned = f"json_set(record, '$.evaluations[0].score', {ends[0]}, '$.evaluations[2].score', {ends[1]})"
        db.execute(f"UPDATE episodes SET record = {turned} WHERE round = 2 AND rowid % 3 = 0")
    found = agreement(tmp_path / "run", 6)
    assert (found.problems, found.labels) == (12, 6) and found.truth == pytest.approx(2 / 3)
    assert found.kappa == 1 > found.judge_kappa
    assert found.covered and found.corrected[0] == pytest.approx(found.truth, abs=0.35)
    assert not (tmp_path / "run" / "labels.jsonl").exists()
