"""What else do the scores reward? Length, place, chance, refusals, echoes of the rubric.

Where the truth is known, what counts is not whether longer answers score higher but whether they do so beyond what they
deserve.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Final

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.probes import Order, Played
from pop_selfplay.evaluation.audit.sample import (
    AuditedRound,
    ComparisonScores,
    Scored,
    aligned,
    over_problems,
    per_problem,
    share_of,
)
from pop_selfplay.method.answers import copies_rubric, is_refusal
from pop_selfplay.pairing import pair_of
from pop_selfplay.records import PreferencePair
from pop_selfplay.stats.comparisons import above, best_worst, spearman
from pop_selfplay.stats.intervals import SIGNED
from pop_selfplay.text.words import count_words

SAME: Final = 0.05
"""Scores that differ by no more count as the same where it is about a judge's word: expected values are never quite equal."""


def bias(audited: AuditedRound, played: Played, truth: ComparisonScores | None) -> Family:
    """Return the family of biases."""
    family = Family("bias", "Do the scores reward anything but quality?", audited.options.limits)
    _length(family, audited, truth)
    _pairs(family, audited)
    _orders(family, audited, played)
    _repeats(family, audited, played)
    _spread(family, audited)
    _echoes(family, audited)
    return family


def _length(family: Family, audited: AuditedRound, truth: ComparisonScores | None) -> None:
    lengths = {one.id: {index: float(count_words(answer)) for index, answer in one.answers.items()} for one in audited.scored}
    scores = {one.id: one.scores for one in audited.scored}
    by_score = per_problem(spearman, scores, lengths)
    known = truth is not None
    family.measured(
        "length",
        "rank correlation of score and length, within a problem",
        over_problems(by_score, SIGNED),
        form="number",
        limit="" if known else "bias.length",
        size=True,
        good="near 0: length alone earns little" if not known else "how much higher longer answers score, deserved or not",
        bad="the scores follow length: check whether longer answers really are better",
    )
    if truth is None:
        return
    by_truth = per_problem(spearman, truth.scores, lengths)
    beyond = {id_: by_score[id_] - by_truth[id_] for id_ in by_score if id_ in by_truth}
    family.measured(
        "length_beyond_truth",
        "the same, in excess of what the truth gives length",
        over_problems(beyond),
        form="number",
        limit="bias.length",
        size=True,
        good="longer answers score no higher than they deserve",
        bad="the scores reward length without value",
    )


def _pairs(family: Family, audited: AuditedRound) -> None:
    longer: dict[str, list[float]] = {}
    refusals: dict[str, list[float]] = {}
    words: dict[str, float] = {}
    for one in audited.scored:
        pair = pair_of(one.episode, audited.session.domain, audited.config.pairing, audited.config.seed)
        if isinstance(pair, PreferencePair):
            chosen, rejected = pair.chosen[0].content, pair.rejected[0].content
            words[one.id] = float(count_words(chosen) - count_words(rejected))
            longer[one.id] = [above(words[one.id], 0.0)]
            refusals[one.id] = [float(is_refusal(_answer(one, chosen)))]
    family.measured(
        "longer_chosen",
        "pairs whose chosen answer is the longer one",
        share_of(longer),
        limit="bias.longer_chosen",
        good="pairs teach little about length (nothing at 50 %)",
        bad="pairs teach longer answers, whatever else they teach",
    )
    family.measured(
        "words_longer",
        "words by which the chosen answer is longer",
        over_problems(words),
        form="number",
        good="pairing.max_word_difference cuts the largest differences",
    )
    family.measured(
        "refusals_chosen",
        "pairs whose chosen answer is a refusal",
        share_of(refusals),
        limit="bias.refusals_chosen",
        good="refusals do not win",
        bad="pairs teach refusals",
    )


def _answer(scored: Scored, completion: str) -> str:
    return next((c.answer for c in scored.episode.candidates if c.completion == completion), completion)


def _orders(family: Family, audited: AuditedRound, played: Played) -> None:
    label = "comparisons in which the judge changes its mind with the order"
    orders = {id_: found for id_, found in played.orders.items() if found}
    if not orders:
        family.missing("flips", label, played.why_missing("orders"))
        return
    family.measured(
        "flips",
        label,
        share_of({id_: [float(_flipped(order)) for order in found] for id_, found in orders.items()}),
        limit="bias.flips",
        good="the judge mostly judges the answer, not its position",
        bad="the judge prefers a position: use both orders, or a mode without comparisons",
    )
    family.measured(
        "first_place",
        "verdicts for the answer shown first",
        share_of(
            {id_: [(float(o.first == "A") + float(o.swapped == "A")) / 2 for o in found] for id_, found in orders.items()},
        ),
        good="50 % shows no preference",
    )


def _flipped(order: Order) -> bool:
    """Whether the same side won both times, so that another answer did."""
    return order.first == order.swapped


def _repeats(family: Family, audited: AuditedRound, played: Played) -> None:
    readings = (
        ("greedy again", "repeat_greedy", "the judge, asked again at temperature 0, gives the same score"),
        ("sampled", "repeat_sampled", "best/worst points the same way when the judge is sampled at temperature 1"),
    )
    first = played.repeats.get("greedy", {})
    for name, figure, label in readings:
        again = played.repeats.get(name, {})
        both = [id_ for id_ in first if id_ in again]
        if not both:
            family.missing(figure, label, played.why_missing("repeats"))
            continue
        if name == "sampled":
            found = {id_: best_worst(*aligned(first[id_], again[id_])) for id_ in both}
            estimate = share_of({id_: [value] for id_, value in found.items() if value is not None})
        else:
            same = {id_: _same(*aligned(first[id_], again[id_])) for id_ in both}
            estimate = share_of(same)
        family.measured(
            figure,
            label,
            estimate,
            limit=f"bias.{figure}",
            good="the judge is consistent with itself",
            bad="the judge contradicts itself: use several votes (synthesis.votes)",
        )


def _same(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [float(abs(a - b) <= SAME) for a, b in zip(one, other, strict=True)]


def _spread(family: Family, audited: AuditedRound) -> None:
    ties = {
        one.id: statistics.fmean(float(a == b) for a, b in combinations(one.scores.values(), 2))
        for one in audited.scored
        if len(one.scores) > 1
    }
    family.measured(
        "ties",
        "pairs of candidates with the same score",
        share_of({id_: [share] for id_, share in ties.items()}),
        limit="bias.ties",
        good="scores separate candidates",
        bad="scores are coarse: best and worst are often decided by chance",
    )
    if audited.mode.score_range is None:
        family.missing(
            "top_score", "candidates with the highest possible score", "scores of this mode are relative to the group"
        )
    else:
        _, best = audited.mode.score_range
        family.measured(
            "top_score",
            "candidates with the highest possible score",
            share_of(
                {one.id: [float(score >= best - SAME) for score in one.scores.values()] for one in audited.scored},
            ),
            limit="bias.top_score",
            good="there is room above most candidates",
            bad="the rubric is easy: most candidates get full marks, and nothing is left to learn",
        )
    counts = Counter(f"{score:.2f}" for one in audited.scored for score in one.scores.values())
    total = counts.total()
    rows = tuple((score, f"{count:,}", f"{count / total:.1%}") for score, count in counts.most_common(8))
    family.details.append(Detail("most frequent scores", ("score", "candidates", "share"), rows))


def _echoes(family: Family, audited: AuditedRound) -> None:
    family.measured(
        "refusals",
        "candidates that begin by declining",
        share_of({one.id: [float(is_refusal(answer)) for answer in one.answers.values()] for one in audited.scored}),
        limit="bias.refusals",
        good="by a list of phrases in the first 200 characters",
        bad="many problems cannot be answered without their documents: the proposer should make them self-contained",
    )
    copies = {
        one.id: [float(copies_rubric(answer, one.rubric, one.problem.text)) for answer in one.answers.values()]
        for one in audited.sample
        if one.rubric is not None
    }
    if not copies:
        family.missing("copies", "candidates that share 8 words in a row with the rubric", "the run has no rubrics")
        return
    family.measured(
        "copies",
        "candidates that share 8 words in a row with the rubric",
        share_of(copies),
        limit="bias.copies",
        good="rubric and answers are written independently",
        bad="rubrics are copied from the answers that they grade, or leak into them",
    )
