"""Each family measures what it says, warns on runs that are bad in its way, and not on good ones."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.evaluation.audit.makers import (
    RUBRIC,
    MakeRound,
    by_chance,
    by_length,
    fair,
    figure,
    scored,
    truth_of,
    warned,
)

from pop_selfplay.config import Prices
from pop_selfplay.evaluation.audit.bias import bias
from pop_selfplay.evaluation.audit.diversity import diversity, rubrics
from pop_selfplay.evaluation.audit.gap import gap
from pop_selfplay.evaluation.audit.hacking import hacking
from pop_selfplay.evaluation.audit.probes import Order, Played, Rewritten
from pop_selfplay.evaluation.audit.sample import (
    AuditedRound,
    ComparisonScores,
    Options,
    Scored,
    SecondOpinion,
    per_problem,
    verified,
)
from pop_selfplay.evaluation.audit.yields import modes, yields
from pop_selfplay.journal import CallKey, Journal, StoredCall
from pop_selfplay.records import Completion, Criterion, Episode, Evaluation, Failure, Problem, Rubric
from pop_selfplay.stats.comparisons import best_worst


def rewritten(made: list[Scored]) -> dict[str, Rewritten]:
    return {one.id: Rewritten(RUBRIC, one.scores) for one in made}


def repeated(made: list[Scored], again: list[Scored]) -> dict[str, dict[str, dict[int, float]]]:
    """Return repeats whose second greedy pass and sampled pass are those of `again`."""
    first, second = ({one.id: one.scores for one in them} for them in (made, again))
    return {"greedy": first, "greedy again": second, "sampled": second}


# --- gap --------------------------------------------------------------------------------------------------------------


def test_a_judge_at_chance_warns_against_the_truth_and_a_fair_one_does_not(audited: MakeRound) -> None:
    good, bad = scored(fair), scored(by_chance)
    for made, expected in ((good, set()), (bad, {"spearman.the truth.with document", "best_worst.the truth.with document"})):
        family = gap(audited(made), Played(), [truth_of(made)], None)
        assert warned(family) == expected
    assert figure(family, "best_worst.the truth.with document").paper == "85.14 %"


def test_the_document_gain_is_paired_over_problems_and_warns_where_the_document_does_harm(audited: MakeRound) -> None:
    good, bad = scored(fair), scored(by_chance)
    for own, other, warns in ((good, bad, False), (bad, good, True)):
        family = gap(audited(own), Played(rubrics=rewritten(other)), [truth_of(own)], None)
        gain = figure(family, "gain.the truth")
        assert gain.estimate is not None and gain.warns is warns
        parts = [per_problem(best_worst, {one.id: one.scores for one in them}, truth_of(own).scores) for them in (own, other)]
        both = parts[0].keys() & parts[1].keys()
        assert gain.estimate.mean == pytest.approx(sum(parts[0][i] - parts[1][i] for i in both) / len(both))


def test_a_run_that_hid_the_document_names_its_own_rubrics_so(audited: MakeRound) -> None:
    made = scored(fair)
    hidden = audited(made, synthesis={"document_for": ["proposer"]})
    family = gap(hidden, Played(rubrics=rewritten(made)), [truth_of(made)], None)
    assert figure(family, "spearman.the truth.without document").limit is not None
    assert figure(family, "spearman.the truth.with document").limit is None


def test_without_yardstick_or_judge_it_says_why_and_gives_no_number(audited: MakeRound) -> None:
    made = scored(fair)
    played = Played(unplayable={"rubrics": "the domain x has no rubric_without_document.md"})
    family = gap(audited(made), played, [], None)
    assert all(found.estimate is None and found.missing for found in family.figures)
    assert "--judge" in figure(family, "agreement").missing and "rubric_without" in figure(family, "with_without").missing


def test_a_judge_that_reads_the_rubric_otherwise_than_a_second_one_warns(audited: MakeRound) -> None:
    made, other = scored(fair), scored(by_chance)
    for them, warns in ((made, False), (other, True)):
        by_rubric = ComparisonScores("j", {one.id: one.scores for one in them})
        family = gap(audited(made), Played(), [], SecondOpinion(ComparisonScores("j", {}), by_rubric))
        assert figure(family, "judge_by_rubric").warns is warns


def test_verified_final_answers_are_a_yardstick_where_there_are_any() -> None:
    made = scored(fair, problems=3)
    assert verified(made) is None
    checked = [
        Scored(
            one.episode.model_copy(
                update={"evaluations": tuple(e.model_copy(update={"verified": e.score > 1}) for e in one.episode.evaluations)}
            ),
            one.document,
        )
        for one in made
    ]
    found = verified(checked)
    assert found is not None
    assert found.scores[made[0].id] == {index: 2.0 if score > 1 else 0.0 for index, score in made[0].scores.items()}


# --- diversity --------------------------------------------------------------------------------------------------------


def with_problem(one: Scored, text: str) -> Scored:
    return replace(one, episode=one.episode.model_copy(update={"problem": one.problem.model_copy(update={"text": text})}))


def test_problems_that_collapse_warn_and_those_from_their_documents_do_not(audited: MakeRound) -> None:
    made = scored(fair)
    assert warned(diversity(audited(made), Played())) == set()
    collapsed = [with_problem(one, "What is the best way to stay healthy and happy in these times?") for one in made]
    family = diversity(audited(collapsed), Played())
    assert warned(family) == {"near_duplicates", "of_documents", "own_document"}
    effective = figure(family, "vendi").estimate
    assert effective is not None and effective.mean == pytest.approx(1)


def test_problems_made_otherwise_are_compared_on_the_same_documents(audited: MakeRound) -> None:
    made = scored(fair)
    same = {one.id: Problem(id=one.id, document_id="", text="the same thing", reference_answer="") for one in made[:10]}
    family = diversity(audited(made), Played(proposals={"without document": same}))
    gain = figure(family, "vendi.without document").estimate
    assert gain is not None and gain.n == 10 and gain.low > 1
    assert family.details[0].rows[1][:2] == ("without document", "10")


def test_a_comparison_that_mostly_failed_says_of_what(audited: MakeRound) -> None:
    lost = {"proposals without document": Counter({"proposer.no_tag": 40})}
    family = diversity(audited(scored(fair)), Played(proposals={"without document": {}}, lost=lost))
    assert "proposer.no_tag 40" in figure(family, "vendi.without document").missing


# --- rubrics ----------------------------------------------------------------------------------------------------------

GENERIC = Rubric(
    criteria=tuple(
        Criterion(name=name, gold="Not applicable", description=f"is it of {name}?", weight=weight)
        for name, weight in (("clarity", 2), ("accuracy", 1))
    )
)


def alike(answer: str, quality: float, rng: random.Random) -> list[float]:
    return [1.0, 2.0 * (quality > 0.5)]


def twice(answer: str, quality: float, rng: random.Random) -> list[float]:
    return [float(round(2 * quality))] * 2


def test_generic_rubrics_warn_and_specific_ones_do_not(audited: MakeRound) -> None:
    assert warned(rubrics(audited(scored(fair)), Played())) == set()
    family = rubrics(audited(scored(fair, rubric=GENERIC)), Played())
    assert warned(family) == {"gold", "generic"}
    assert family.details[0].rows == (("clarity", "40"), ("accuracy", "40"))


def test_criteria_that_tell_nobody_apart_and_those_that_say_the_same_warn(audited: MakeRound) -> None:
    assert warned(rubrics(audited(scored(alike)), Played())) == {"rate_all_alike"}
    assert warned(rubrics(audited(scored(twice)), Played())) == {"redundant"}


def test_a_reference_answer_that_loses_warns(audited: MakeRound) -> None:
    made = scored(fair)
    for score, expected in ((2.0, set()), (0.0, {"reference_below_median"})):
        references = {one.id: Evaluation(candidate=-1, score=score) for one in made}
        family = rubrics(audited(made), Played(references=references))
        assert warned(family) == expected
        wins = figure(family, "reference_wins").estimate
        assert wins is not None and wins.mean == (1.0 if score else 0.0) and wins.low < wins.high


# --- bias -------------------------------------------------------------------------------------------------------------


def test_a_judge_of_length_warns_and_a_fair_one_does_not(audited: MakeRound) -> None:
    family = bias(audited(scored(by_length)), Played(), None)
    assert warned(family) == {"length", "longer_chosen"}
    assert warned(bias(audited(scored(fair)), Played(), None)) == set()


def test_where_longer_answers_are_truly_better_length_is_no_bias(audited: MakeRound) -> None:
    made = scored(by_length)
    other_round = {"2/d0/0": {0: 1.0, 1: 2.0}}  # the truth is known of more than what is audited
    deserved = ComparisonScores("the truth", {**{one.id: one.scores for one in made}, **other_round})
    family = bias(audited(made), Played(), deserved)
    assert not figure(family, "length").warns and not figure(family, "length_beyond_truth").warns
    assert figure(bias(audited(made), Played(), truth_of(made)), "length_beyond_truth").warns


def test_a_judge_that_goes_by_the_place_warns_and_one_that_means_the_answer_does_not(audited: MakeRound) -> None:
    made = scored(fair)
    for order, flips, first in ((Order("A", "A"), 1.0, 1.0), (Order("A", "B"), 0.0, 0.5)):
        family = bias(audited(made), Played(orders={one.id: [order] * 3 for one in made}), None)
        assert warned(family) == ({"flips"} if flips else set())
        found = figure(family, "first_place").estimate
        assert found is not None and found.mean == first


def test_a_judge_that_contradicts_itself_warns(audited: MakeRound) -> None:
    made = scored(fair)
    family = bias(audited(made), Played(repeats=repeated(made, scored(by_chance))), None)
    assert warned(family) == {"repeat_greedy", "repeat_sampled"}
    assert warned(bias(audited(made), Played(repeats=repeated(made, made)), None)) == set()


def test_a_rubric_that_all_satisfy_warns_of_ties_and_of_the_top_score(audited: MakeRound) -> None:
    easy = scored(lambda answer, quality, rng: [2.0, 2.0 * (quality > 0.1)])
    assert {"ties", "top_score"} <= warned(bias(audited(easy), Played(), None))


def answering(made: list[Scored], change: str) -> list[Scored]:
    """Return the problems with the best candidate's answer changed to `change`."""
    changed = []
    for one in made:
        best = max(one.scores, key=lambda index: one.scores[index])
        candidates = tuple(
            c.model_copy(update={"answer": change, "completion": f"<answer>{change}</answer>"}) if c.index == best else c
            for c in one.episode.candidates
        )
        changed.append(Scored(one.episode.model_copy(update={"candidates": candidates}), one.document))
    return changed


def test_refusals_that_win_warn(audited: MakeRound) -> None:
    family = bias(audited(answering(scored(fair), "I'm sorry, I cannot help with that.")), Played(), None)
    assert "refusals_chosen" in warned(family)


def test_answers_that_hold_the_rubric_warn(audited: MakeRound) -> None:
    said = "one two three four five six seven eight nine"
    rubric = Rubric(criteria=(RUBRIC.criteria[0].model_copy(update={"gold": said}), RUBRIC.criteria[1]))
    assert "copies" in warned(bias(audited(answering(scored(fair, rubric=rubric), said)), Played(), None))


def test_scores_relative_to_the_group_have_no_top_and_no_ratings(audited: MakeRound) -> None:
    compared = audited(scored(fair), synthesis={"scoring": "pairwise"})
    assert "relative" in figure(bias(compared, Played(), None), "top_score").missing
    assert "pairwise" in figure(rubrics(compared, Played()), "separation").missing
    assert "relative" in figure(hacking(compared, {}, []), "drift").missing


# --- modes ------------------------------------------------------------------------------------------------------------


def test_modes_are_compared_with_pointwise_and_one_at_chance_warns(audited: MakeRound) -> None:
    made = scored(fair)
    chance = {one.id: one.scores for one in scored(by_chance)}
    same = {one.id: one.scores for one in made}
    with Journal.open(Path(":memory:")) as journal:
        played = Played(modes={"per_criterion": same, "logprob": chance})
        family = modes(audited(made), played, [truth_of(made)], journal)
    assert warned(family) == {"logprob.best_worst"}
    exact = figure(family, "per_criterion.spearman").estimate
    assert exact is not None and exact.mean == pytest.approx(1)
    assert [row[0] for row in family.details[0].rows] == ["pointwise", "per_criterion", "logprob"]


def test_a_mode_that_could_not_be_played_says_why(audited: MakeRound) -> None:
    played = Played(unplayable={"modes anchor": "the domain x has no anchor.md"}, modes={"logprob": {}})
    played.lost["modes logprob"] = Counter({"judge.no_tag": 3})
    with Journal.open(Path(":memory:")) as journal:
        family = modes(audited(scored(fair)), played, [], journal)
    assert "anchor.md" in figure(family, "anchor").missing and "judge.no_tag 3" in figure(family, "logprob").missing


# --- hacking ----------------------------------------------------------------------------------------------------------


def generous(answer: str, quality: float, rng: random.Random) -> list[float]:
    return [2.0, 2.0]


def test_self_made_scores_that_rise_alone_warn_and_those_that_rise_with_the_truth_do_not(audited: MakeRound) -> None:
    first, hacked, steady = scored(fair), scored(generous, round_=2), scored(fair, round_=2)
    for second, warns in ((hacked, True), (steady, False)):
        truth = ComparisonScores("the truth", {**truth_of(first).scores, **truth_of(second).scores})
        family = hacking(audited(second), {1: first, 2: second}, [truth])
        drift = figure(family, "drift.the truth")
        assert drift.warns is warns and drift.estimate is not None
        assert (drift.estimate.low > 0.3) is warns


def test_scores_that_rise_because_answers_got_better_do_not_warn(audited: MakeRound) -> None:
    first, second = scored(fair), scored(generous, round_=2)
    perfect = {one.id: dict.fromkeys(one.scores, 2.0) for one in second}
    truth = ComparisonScores("the truth", {**truth_of(first).scores, **perfect})
    drift = figure(hacking(audited(second), {1: first, 2: second}, [truth]), "drift.the truth")
    assert not drift.warns and drift.estimate is not None and abs(drift.estimate.mean) < 0.05


def test_one_round_or_no_yardstick_is_said(audited: MakeRound) -> None:
    made = scored(fair)
    assert "two rounds" in figure(hacking(audited(made), {1: made}, [truth_of(made)]), "drift.the truth").missing
    assert "--judge" in figure(hacking(audited(made), {1: made}, []), "drift").missing


# --- yield ------------------------------------------------------------------------------------------------------------


def stored(audited: MakeRound, made: list[Scored], failures: int, **config: Any) -> tuple[AuditedRound, Journal]:
    """Return the round and its journal, with a refused call and `failures` failed episodes of 100 generated tokens each."""
    looked_at = audited(made, pairing={"near_duplicate_problems": None, "max_word_difference": None}, **config)
    journal = looked_at.session.journal
    for one in made:
        for candidate in one.episode.candidates:
            call = StoredCall("d", "", Completion(candidate.completion, "stop", 10, 5))
            journal.record_call(CallKey(1, one.id, "solver", str(candidate.index), 0), call)
        journal.record_episode(one.episode)
    for number in range(failures):
        id_ = f"1/lost{number}/0"
        journal.record_call(CallKey(1, id_, "proposer", "", 0), StoredCall("d", "no_tag", Completion("?", "stop", 0, 100)))
        lost = Failure(stage="proposer", reason="no_tag")
        journal.record_episode(Episode(id=id_, round=1, document_id=f"lost{number}", failure=lost))
    return looked_at, journal


def test_the_cost_of_a_pair_counts_what_was_lost(audited: MakeRound) -> None:
    looked_at, journal = stored(audited, scored(fair, problems=20), 10)
    family = yields(looked_at, journal)
    cost, kept = figure(family, "generated_tokens").estimate, figure(family, "kept").estimate
    assert kept is not None and kept.mean == pytest.approx(20 / 30) and kept.n == 30
    assert cost is not None and cost.mean == pytest.approx((20 * 8 * 5 + 10 * 100) / 20) and cost.low < cost.mean < cost.high
    assert ("proposer.no_tag", "10", "33.3%") in next(d.rows for d in family.details if d.title.startswith("episodes lost"))
    assert warned(family) == {"refused.proposer"} and "prices" in figure(family, "money").missing


def test_money_follows_the_prices_of_the_model(audited: MakeRound) -> None:
    prices = Prices(prompt=100, generated=1000).model_dump()
    served = {"type": "endpoint", "base_url": "http://127.0.0.1/v1", "model": "m", "prices": prices}
    money = figure(yields(*stored(audited, scored(fair, problems=10), 0, model=served)), "money").estimate
    assert money is not None and money.mean == pytest.approx(8 * (10 * 100 + 5 * 1000) / 1e6)


def test_a_run_that_throws_most_away_warns(audited: MakeRound) -> None:
    looked_at, journal = stored(audited, scored(fair, problems=5), 10)
    assert "kept" in warned(yields(looked_at, journal))


def test_options_default_to_the_table_of_thresholds() -> None:
    assert Options().limits["gap.best_worst"].value == 0.7


def test_what_was_accepted_though_it_echoes_a_prompt_is_counted_and_warns(audited: MakeRound) -> None:
    made = scored(fair, problems=10)
    clean, journal = stored(audited, made, 0)
    own = yields(clean, journal)
    assert "echoes" not in warned(own)
    prompt = clean.session.domain.prompts["propose"].system.split("\n")[0]
    copied = made[0].problem.model_copy(update={"reference_answer": prompt})
    echoing = replace(made[0], episode=made[0].episode.model_copy(update={"problem": copied}))
    looked_at, journal = stored(audited, [echoing, *made[1:]], 0)
    family = yields(looked_at, journal)
    found = figure(family, "echoes").estimate
    assert found is not None and found.mean == pytest.approx(1 / found.n) and "echoes" in warned(family)
    assert ("proposer", "10", "1") in next(d.rows for d in family.details if "echoes" in d.title)


def test_comparisons_that_echo_a_prompt_are_counted_from_their_calls(audited: MakeRound) -> None:
    looked_at, journal = stored(audited, scored(fair, problems=3), 0, synthesis={"scoring": "anchor"})
    last = looked_at.session.domain.prompts["anchor"].user.split("\n")[-1].split(".")[0]
    marks = "<rating_A>5</rating_A> <rating_B>6</rating_B>"
    for number, said in enumerate((f"{last}. {marks}", f"A gives the dose and B leaves it out. {marks}", "unreadable")):
        key = CallKey(1, looked_at.scored[0].id, "judge", f"{number}:9", 0)
        reason = "bad_rating" if said == "unreadable" else ""
        journal.record_call(key, StoredCall("d", reason, Completion(said, "stop", 10, 5)))
    family = yields(looked_at, journal)
    assert ("judge", "2", "1") in next(d.rows for d in family.details if "echoes" in d.title)
