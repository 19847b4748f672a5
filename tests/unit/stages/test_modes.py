"""Votes, early stop, verification, the reference answer, schemas and reuse: what each asks, and what it leaves as it was."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import pop_selfplay as pop
from pop_selfplay.config import Pairing, Reuse, Synthesis
from pop_selfplay.domains import load_domain
from pop_selfplay.episode import play as play_episode
from pop_selfplay.episode import rate
from pop_selfplay.errors import ConfigError, DomainError
from pop_selfplay.journal import Journal
from pop_selfplay.method.parsing import (
    BETTER,
    MARKS,
    Parsed,
    answer_form,
    evaluation_form,
    parse_evaluation,
    parse_rubric,
    proposal_form,
    ratings_form,
)
from pop_selfplay.method.parsing import RUBRIC as RUBRIC_FORM
from pop_selfplay.method.rubric_json import evaluation_schema, rubric_schema
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.models.simulated import SimulatedChatModel
from pop_selfplay.pairing import pair_of, paired
from pop_selfplay.records import REFERENCE, Candidate, Completion, Episode, Evaluation, Failure, Problem, Role
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric
from tests.integration.runs import simulated_config, write_texts
from tests.unit.stages.scripted import DOCUMENT, PROBLEM, RUBRIC, Scripted, candidates, play
from tests.unit.stages.test_stages import evaluation, everything


def one_episode(model: Scripted, **synthesis: Any) -> Episode:
    return play(model, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), **synthesis)


def calls(model: Scripted) -> Counter[Role]:
    return Counter(request.role for request in model.requests)


# --- votes ------------------------------------------------------------------------------------------------------------


def test_the_score_is_the_mean_of_the_valid_votes() -> None:
    votes = iter([evaluation(dose=2, effect=2), evaluation(dose=0, effect=0), "broken"])
    model = Scripted(lambda _: next(votes))
    settings: dict[str, Any] = {"votes": 3, "judge": {"temperature": 0.7, "attempts": 1}, "min_valid_share": 0}
    found = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a"), 1, asked=1), **settings)
    assert isinstance(found, Failure) and len(model.requests) == 3  # one scored candidate is no group
    model = Scripted(lambda request: evaluation(dose=request.seed % 3, effect=1))
    both = play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a", "b"), 1), **settings)
    assert not isinstance(both, Failure)
    for number, found_evaluation in enumerate(both):
        seeds = [r.seed for r in model.requests if f"<answer>\n{'ab'[number]}\n" in r.messages[-1].content]
        assert len(seeds) == 3 and found_evaluation.score == pytest.approx(sum(3 * (s % 3) + 1 for s in seeds) / 12)


def test_the_first_vote_asks_what_a_single_one_would() -> None:
    one, three = Scripted(everything), Scripted(everything)
    one_episode(one, judge={"temperature": 0.7})
    one_episode(three, votes=3, judge={"temperature": 0.7})
    judged = [{r.seed for r in model.requests if r.role == Role.JUDGE} for model in (one, three)]
    assert judged[0] < judged[1] and len(judged[1]) == 3 * len(judged[0])


@pytest.mark.parametrize(
    ("mode", "shown"), [("pointwise", False), ("per_criterion", False), ("logprob", False), ("pairwise", True)]
)
def test_only_a_judge_that_compares_sees_weights(mode: str, shown: bool) -> None:
    model = Scripted(everything)
    play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("two", "three"), 1), scoring=mode)
    assert ('"weight": 3' in model.shown(Role.JUDGE) or '"weight":3' in model.shown(Role.JUDGE)) is shown


def test_a_domain_may_show_the_weight_of_a_criterion_as_the_pocket_one_does() -> None:
    model = Scripted(everything)
    play(
        model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("two", "three"), 1), domain="pocket", scoring="per_criterion"
    )
    assert '"weight":3,"gold":"two drops"' in model.shown(Role.JUDGE)


# --- early stop -------------------------------------------------------------------------------------------------------


def test_no_more_is_solved_once_best_and_worst_stand_apart() -> None:
    model = Scripted(lambda r: evaluation(dose=2 * (r.seed % 2), effect=1) if r.role == Role.JUDGE else everything(r))
    episode = one_episode(model, candidates=16, early_stop={"first_share": 0.5, "gap": 1.0})
    assert len(episode.candidates) == 8 == len(episode.evaluations) and calls(model)[Role.SOLVER] == 8


def test_all_are_solved_while_they_fare_alike_and_nothing_is_asked_twice() -> None:
    model = Scripted(lambda r: evaluation(dose=1, effect=1) if r.role == Role.JUDGE else everything(r))
    episode = one_episode(model, candidates=10, early_stop={"first_share": 0.3, "gap": 1.0})
    assert [c.index for c in episode.candidates] == list(range(10))
    assert calls(model) == {Role.PROPOSER: 1, Role.SOLVER: 10, Role.RUBRIC_WRITER: 1, Role.JUDGE: 10}


def test_a_part_that_fails_adds_no_candidate_and_the_rest_goes_on() -> None:
    def write(request: ChatRequest) -> str:
        if request.role == Role.JUDGE:
            return evaluation(dose=1, effect=1)
        solved = sum(r.role == Role.SOLVER for r in model.requests)
        return "nonsense" if request.role == Role.SOLVER and 2 < solved <= 4 else everything(request)

    model = Scripted(write)
    episode = one_episode(model, candidates=6, early_stop={"first_share": 0.3}, solver={"attempts": 1})
    assert episode.failure is None and [c.index for c in episode.candidates] == [0, 1, 4, 5]


# --- verify -----------------------------------------------------------------------------------------------------------

SUM = Problem(id="1/d1/0", document_id="d1", text="What is 1/4 + 1/4?", reference_answer=r"It is \boxed{\frac{1}{2}}.")


def boxed(*answers: str) -> tuple[Candidate, ...]:
    return candidates(*(rf"So \boxed{{{answer}}}" for answer in answers))


def test_verify_asks_nobody_and_scores_two_or_nothing() -> None:
    model = Scripted(everything)
    settings = {"scoring": "verify", "domain": "math"}
    found = play(model, lambda cast: rate(cast, SUM, None, boxed("0.5", "2", "2/4", "x"), 1), **settings)
    assert not isinstance(found, Failure) and model.requests == []
    assert [e.score for e in found] == [2, 0, 2, 0] and [e.verified for e in found] == [True, False, True, False]


def test_a_judged_candidate_is_verified_too_and_its_score_stays_the_judge_s() -> None:
    model = Scripted(lambda _: evaluation(dose=1, effect=1))
    found = play(model, lambda cast: rate(cast, SUM, RUBRIC, boxed("0.5", "2"), 1), domain="math")
    assert not isinstance(found, Failure)
    assert [(e.score, e.verified) for e in found] == [(1, True), (1, False)]


def test_a_verified_episode_needs_no_rubric() -> None:
    def write(request: ChatRequest) -> str:
        if request.role == Role.PROPOSER:
            return f"<problem>{SUM.text}</problem><answer>{SUM.reference_answer}</answer>"
        return rf"<answer>\boxed{{{request.seed % 2}.5}}</answer>"

    model = Scripted(write)
    episode = one_episode(model, scoring="verify", domain="math", candidates=12)
    assert episode.failure is None and episode.rubric is None and set(calls(model)) == {Role.PROPOSER, Role.SOLVER}
    assert {e.score for e in episode.evaluations} == {0, 2}


def test_verify_is_refused_where_answers_have_no_box(tmp_path: Path) -> None:
    config = simulated_config(write_texts(tmp_path / "texts", 12), scoring="verify")
    with pytest.raises(DomainError, match="box"):
        pop.run(config, tmp_path / "run")


# --- the reference answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scoring", "more"), [("pointwise", 1), ("per_criterion", 2)])
def test_the_reference_answer_is_scored_like_a_candidate_and_beside_them(scoring: str, more: int) -> None:
    plain, with_it = Scripted(everything), Scripted(everything)
    if scoring == "per_criterion":
        for model in (plain, with_it):
            model._write = per_criterion
    before = one_episode(plain, scoring=scoring)
    after = one_episode(with_it, scoring=scoring, score_reference=True)
    assert after.reference_evaluation is not None and after.reference_evaluation.candidate == REFERENCE
    assert after.model_copy(update={"reference_evaluation": None}) == before
    assert len(with_it.requests) == len(plain.requests) + more
    assert "the book says" in with_it.shown(Role.JUDGE)


def per_criterion(request: ChatRequest) -> str:
    if request.role != Role.JUDGE:
        return everything(request)
    name = "dose" if '"name":"dose"' in request.messages[-1].content else "effect"
    return evaluation(**{name: 1})


def test_a_judge_that_fails_on_the_reference_answer_costs_the_problem_nothing() -> None:
    model = Scripted(
        lambda r: "broken" if "the book says" in r.messages[-1].content and r.role == Role.JUDGE else everything(r)
    )
    episode = one_episode(model, score_reference=True)
    assert episode.failure is None and episode.reference_evaluation is None


def test_rubrics_by_which_the_reference_falls_below_the_median_are_kept_or_dropped() -> None:
    group = candidates("one", "two", "three")
    episode = Episode(
        id="1/d1/0",
        round=1,
        document_id="d1",
        problem=PROBLEM,
        candidates=group,
        rubric=RUBRIC,
        evaluations=tuple(Evaluation(candidate=n, score=n) for n in range(3)),
        reference_evaluation=Evaluation(candidate=REFERENCE, score=0.5),
    )
    domain = load_domain("health_care")
    assert not isinstance(pair_of(episode, domain, Pairing(), 1), Failure)
    dropped = pair_of(episode, domain, Pairing(reference_below_median="drop"), 1)
    assert isinstance(dropped, Failure) and (dropped.stage, dropped.reason) == ("pair", "reference_below_median")


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_a_schema_goes_with_rubric_and_judge_requests_and_bare_json_comes_back() -> None:
    criteria = [c.model_dump() | {"weight": int(c.weight)} for c in RUBRIC.criteria]

    def write(request: ChatRequest) -> str:
        if request.role == Role.RUBRIC_WRITER:
            return json.dumps({"thoughts": "t", "criteria": criteria})
        if request.role == Role.JUDGE:
            rated = {f"criterion_{n}": {"name": c["name"], "thoughts": "", "rating": 1} for n, c in enumerate(criteria, 1)}
            return json.dumps(rated)
        return everything(request)

    model = Scripted(write)
    episode = one_episode(model, json_schema=True)
    assert episode.failure is None and episode.rubric == RUBRIC
    schemas = {request.role: (request.schema, request.stop) for request in model.requests}
    assert schemas[Role.RUBRIC_WRITER] == (rubric_schema(), "")
    assert schemas[Role.JUDGE] == (evaluation_schema(RUBRIC.criteria), "")
    assert schemas[Role.PROPOSER] == schemas[Role.SOLVER] == (None, "</answer>")


def test_what_the_schemas_allow_the_parsers_read() -> None:
    written = {"thoughts": "", "criteria": [{"name": "n", "gold": "", "description": "d", "weight": 5}]}
    assert set(written["criteria"][0]) == set(rubric_schema()["properties"]["criteria"]["items"]["required"])
    assert isinstance(parse_rubric(json.dumps(written), bare=True), Parsed)
    asked = evaluation_schema(RUBRIC.criteria)["properties"]
    rated = {key: {"name": part["properties"]["name"]["enum"][0], "thoughts": "", "rating": 0} for key, part in asked.items()}
    assert isinstance(parse_evaluation(json.dumps(rated), RUBRIC.criteria, bare=True), Parsed)


# --- forms ------------------------------------------------------------------------------------------------------------


class Constrained(Scripted):
    """A model that says it decodes by forms, or that it does not."""

    asked = 0

    def __init__(self, write: Callable[[ChatRequest], str], *, heeds: bool) -> None:
        super().__init__(write)
        self._heeds = heeds

    async def constrains(self, role: Role) -> bool:
        self.asked += 1
        return self._heeds


FORM_OF = {
    Role.PROPOSER: proposal_form(boxed=False),
    Role.SOLVER: answer_form(boxed=False),
    Role.RUBRIC_WRITER: RUBRIC_FORM,
    Role.JUDGE: evaluation_form(RUBRIC.criteria),
}


def test_every_role_is_asked_with_its_form_where_the_model_heeds_it() -> None:
    model = Constrained(everything, heeds=True)
    episode = one_episode(model, constrain="auto")
    assert episode.failure is None and model.asked == 4  # once for each role
    assert all(request.form == FORM_OF[request.role].within(request.max_tokens) for request in model.requests)
    assert all(request.stop for request in model.requests)


@pytest.mark.parametrize(("constrain", "heeds"), [("none", True), ("auto", False)])
def test_no_form_is_sent_where_the_run_or_the_model_does_not_want_it(constrain: str, heeds: bool) -> None:
    model = Constrained(everything, heeds=heeds)
    assert one_episode(model, constrain=constrain).failure is None
    assert {request.form for request in model.requests} == {None}


def test_the_comparing_modes_and_bare_ratings_have_forms_of_their_own() -> None:
    for scoring, form in (("pairwise", BETTER), ("anchor", MARKS), ("logprob", ratings_form(2))):
        model = Constrained(lambda request: "", heeds=True)
        play(model, lambda cast: rate(cast, PROBLEM, RUBRIC, candidates("a", "b"), 1), scoring=scoring, constrain="auto")
        asked = [request.form == form.within(request.max_tokens) for request in model.requests]
        assert asked == [True] * len(model.requests) != []


def test_what_was_found_out_is_noted_so_that_a_resumed_run_asks_for_the_same(tmp_path: Path) -> None:
    first = Constrained(everything, heeds=True)
    play(first, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), tmp_path / "run.db", constrain="auto")
    again = Constrained(everything, heeds=False)
    play(again, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), tmp_path / "run.db", constrain="auto")
    assert again.asked == 0 and again.requests == []


def test_a_stored_call_counts_only_for_the_form_it_was_asked_with(tmp_path: Path) -> None:
    first = Constrained(everything, heeds=True)
    play(first, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), tmp_path / "run.db", constrain="auto")
    other = Constrained(everything, heeds=True)
    play(other, lambda cast: play_episode(cast, DOCUMENT, 1, "1/d1/0"), tmp_path / "run.db", constrain="none")
    assert len(other.requests) == len(first.requests)


def test_without_an_answer_tag_the_whole_completion_is_the_answer() -> None:
    written = iter(["<think>Hm.</think>\nTwo drops.", "Two.\n<answer>Two drops.</answer>", "...", "<answer>Open"])
    model = Scripted(lambda _: next(written))
    settings: dict[str, Any] = {"solver": {"answer_tag": False, "attempts": 1}, "constrain": "auto"}
    found = play(model, lambda cast: solve(cast, PROBLEM, 1), **settings)
    assert not isinstance(found, Failure)
    assert [(one.index, one.answer) for one in found] == [(0, "Two drops."), (1, "Two drops.")]
    assert {request.stop for request in model.requests} == {""}


def test_where_answers_are_boxed_a_completion_that_ends_with_its_box_is_one_and_counted_as_repaired(tmp_path: Path) -> None:
    written = "Two and two make four, \\boxed{4}."
    settings: dict[str, Any] = {"solver": {"attempts": 1}}
    found = play(Scripted(lambda _: written), lambda cast: solve(cast, SUM, 1), tmp_path / "run.db", domain="math", **settings)
    assert not isinstance(found, Failure) and {one.answer for one in found} == {written}
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        assert database.execute("SELECT DISTINCT reason FROM calls").fetchall() == [("repaired",)]
    plain = play(Scripted(lambda _: written), lambda cast: solve(cast, PROBLEM, 1), **settings)
    assert isinstance(plain, Failure) and plain.reason == "too_few_valid"


class Short(Scripted):
    """Runs out of tokens in every completion."""

    async def complete(self, request: ChatRequest) -> Completion:
        return replace(await super().complete(request), finish_reason="length")


@pytest.mark.parametrize(
    ("written", "domain", "tagged", "reason"),
    [
        ("Two drops, and then", "health_care", False, "cut_off"),
        ("It is 2, so \\boxed{2}.", "math", True, "cut_off"),
        ("<answer>Two drops.</answer>", "health_care", False, ""),
        ("<answer>\\boxed{2}</answer>", "math", True, ""),
    ],
)
def test_an_answer_without_a_tag_counts_only_if_the_model_ended_by_itself(
    written: str, domain: str, tagged: bool, reason: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"solver": {"attempts": 1, "answer_tag": tagged}}
    play(Short(lambda _: written), lambda cast: solve(cast, SUM, 1), tmp_path / "run.db", domain=domain, **settings)
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        assert database.execute("SELECT DISTINCT reason FROM calls").fetchall() == [(reason,)]


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ('{"criterion_1": {"name": "dose", "description": "states it", "weight": 2, "gold": "two drops"}', "cut_off"),
        ('{"name": "dose", "description": "states it", "weight": 2, "gold": "two drops"}', "cut_off"),
        ('```json\n[{"name": "dose", "description": "states it", "weight": 2, "gold": "two drops"}]\n```', "repaired"),
    ],
)
def test_a_rubric_without_a_tag_counts_only_if_the_model_ended_by_itself(written: str, reason: str, tmp_path: Path) -> None:
    play(
        Short(lambda _: written),
        lambda cast: write_rubric(cast, DOCUMENT, SUM, candidates("two"), 1),
        tmp_path / "run.db",
        rubric_writer={"attempts": 1},
    )
    with closing(sqlite3.connect(tmp_path / "run.db")) as database:
        assert database.execute("SELECT DISTINCT reason FROM calls").fetchall() == [(reason,)]


# --- problems ---------------------------------------------------------------------------------------------------------


def test_unfit_problems_are_asked_for_again_and_counted() -> None:
    passage = (
        "Take it in the evening, with a glass of warm water, since the root works slowly and the stomach bears it better then."
    )
    document = DOCUMENT.model_copy(update={"text": f"{DOCUMENT.text} {passage}"})
    said = [
        ("According to the passage, how much?", "Two drops."),
        ("Two drops of valerian calm the heart. Why?", "Two drops of valerian calm the heart."),
        (passage, "Two drops."),
        ("How much valerian?", "Two drops."),
    ]
    answers = iter(f"<problem>{problem}</problem><answer>{answer}</answer>" for problem, answer in said)
    found = play(Scripted(lambda _: next(answers)), lambda cast: propose(cast, document, 1, "e"))
    assert isinstance(found, Problem) and found.text == "How much valerian?"
    for problem, reason in zip(said, ("points_at_text", "repeats_reference", "copies_document"), strict=False):
        model = Scripted(lambda _, p=problem: f"<problem>{p[0]}</problem><answer>{p[1]}</answer>")  # type: ignore[misc]
        lost = play(model, lambda cast: propose(cast, document, 1, "e"), proposer={"attempts": 2})
        assert isinstance(lost, Failure) and lost.reason == reason


def test_of_problems_that_nearly_repeat_each_other_one_gives_a_pair(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "run.db") as journal:
        for id_ in ("1/b/0", "1/a/0", "1/c/0"):
            problem = Problem(id=id_, document_id=id_[2], text="How much valerian root?", reference_answer="Two drops.")
            scores = (1.0, 1.0) if id_ == "1/a/0" else (0.0, 2.0)  # the smallest id gives no pair, so it takes no place
            journal.record_episode(
                Episode(
                    id=id_,
                    round=1,
                    document_id=id_[2],
                    problem=problem,
                    evaluations=tuple(Evaluation(candidate=n, score=s) for n, s in enumerate(scores)),
                    failure=None if scores[0] != scores[1] else Failure(stage="judge", reason="too_few_scored"),
                )
            )
        kept = {
            episode.id: getattr(made, "reason", "pair")
            for episode, made in paired(_WithTexts(journal), 1, load_domain("health_care"), Pairing(), 1)  # type: ignore[arg-type]
        }
        assert kept == {"1/a/0": "too_few_scored", "1/b/0": "pair", "1/c/0": "near_duplicate_problem"}


class _WithTexts:
    """A journal whose episodes come with two candidates each, which no calls stand behind."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def episodes(self, round_: int) -> list[Episode]:
        return [e.model_copy(update={"candidates": candidates("one", "two")}) for e in self._journal.episodes(round_)]


# --- reuse ------------------------------------------------------------------------------------------------------------


def test_another_run_s_problems_answers_and_rubrics_are_taken_over_at_no_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = write_texts(tmp_path / "texts", 12)
    first = pop.run(simulated_config(texts), tmp_path / "first")
    asked: Counter[Role] = Counter()
    complete = SimulatedChatModel.complete

    async def counted(self: SimulatedChatModel, request: ChatRequest) -> Completion:
        asked[request.role] += 1
        return await complete(self, request)

    monkeypatch.setattr(SimulatedChatModel, "complete", counted)
    reuse = {"run": str(tmp_path / "first"), "rubrics": True}
    second = pop.run(simulated_config(texts, scoring="per_criterion", reuse=reuse), tmp_path / "second")
    assert set(asked) == {Role.JUDGE}
    kept = ("documents", "problems", "candidates", "rubrics")
    assert [getattr(second.rounds[0], what) for what in kept] == [getattr(first.rounds[0], what) for what in kept]
    asked.clear()
    pop.run(simulated_config(texts, reuse={"run": str(tmp_path / "first"), "candidates": False}), tmp_path / "third")
    assert set(asked) == {Role.SOLVER, Role.RUBRIC_WRITER, Role.JUDGE}


def test_a_run_without_a_document_in_common_is_refused(tmp_path: Path) -> None:
    pop.run(simulated_config(write_texts(tmp_path / "texts", 12)), tmp_path / "first")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.txt").write_text("word " * 60, encoding="utf-8")
    with pytest.raises(ConfigError, match="shares no document"):
        pop.run(simulated_config(tmp_path / "other", reuse={"run": str(tmp_path / "first")}), tmp_path / "second")


# --- settings that make no sense together -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"votes": 3}, "greedy judge"),
        ({"scoring": "pairwise", "early_stop": {}}, "compares the whole group"),
        ({"scoring": "verify", "score_reference": True}, "it verifies against"),
    ],
)
def test_settings_that_make_no_sense_together_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Synthesis.model_validate(settings)


def test_what_hangs_together_is_reused_together() -> None:
    with pytest.raises(ValidationError, match="belong to their problems"):
        Reuse(run="runs/x", problems=False)
