"""Are the problems different ones, thanks to the documents, and are the rubrics any good?

`diversity` compares words, on one problem for each document sampled; `rubrics` looks at what they hold, how far they tell
answers apart, and whether the reference answer wins by them.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.probes import Played
from pop_selfplay.evaluation.audit.sample import AuditedRound, Scored, over_problems, share_of
from pop_selfplay.method.problems import ALIKE, criterion_power, generic_criteria, has_gold, rating_correlations
from pop_selfplay.records import Document, Role
from pop_selfplay.runs.session import watch_session
from pop_selfplay.stats.comparisons import above
from pop_selfplay.text.overlap import Kernel, by_halves, distinct, near_duplicate_flags, tfidf, vendi
from pop_selfplay.text.overlap import diversity as measures

NEAR: Final = 0.8
"""Similarity of near-duplicates, where the run's pairing sets none."""

Texts = Mapping[str, str]
"""Document id → the problem made of it."""


def diversity(audited: AuditedRound, played: Played) -> Family:
    """Return the family of the problems' diversity."""
    family = Family("diversity", "Are the problems as diverse as the corpus?", audited.options.limits)
    seed = audited.config.seed
    _near_duplicates(family, audited)
    own = {one.document.id: one.problem.text for one in reversed(audited.sample)}
    documents = {one.document.id: one.document for one in audited.sample}
    _effective(family, own, documents, seed)
    shown = Role.PROPOSER in audited.config.synthesis.document_for
    name = "with document" if shown else "without document"
    others = _others(audited, played)
    for other, texts in others.items():
        _compare(family, (name, own), (other, texts), seed, played.why_missing(f"proposals {other}"))
    if not others:
        family.missing("compared", "compared with problems made in another way", played.why_missing("proposals"))
    if audited.options.against is not None:
        texts = _problems_of(audited.options.against, audited.round)
        _compare(family, (name, own), (f"the problems of {audited.options.against.name}", texts), seed)
    return family


def _others(audited: AuditedRound, played: Played) -> dict[str, Texts]:
    by_id = {one.id: one for one in audited.sample}
    return {
        name: {by_id[id_].document.id: problem.text for id_, problem in problems.items()}
        for name, problems in played.proposals.items()
    }


def _near_duplicates(family: Family, audited: AuditedRound) -> None:
    threshold = audited.config.pairing.near_duplicate_problems or NEAR
    flags = near_duplicate_flags([one.problem.text for one in audited.scored], threshold)
    family.measured(
        "near_duplicates",
        "problems that nearly repeat another one",
        share_of({one.id: [float(flag)] for one, flag in zip(audited.scored, flags, strict=True)}),
        limit="diversity.near_duplicates",
        good="few problems repeat each other",
        bad="many problems repeat each other: more or other documents would teach more",
    )


def _effective(family: Family, own: Texts, documents: Mapping[str, Document], seed: int) -> None:
    ids = list(own)
    vectors = tfidf([own[id_] for id_ in ids] + [documents[id_].text for id_ in ids])
    problems, texts = vectors[: len(ids)], vectors[len(ids) :]
    made, given = problems @ problems.T, texts @ texts.T
    found = measures([own[id_] for id_ in ids], near=NEAR, seed=seed)
    family.measured(
        "vendi",
        f"effective number of different problems, of {len(ids)}",
        found.vendi,
        form="number",
        good="as diverse as this many problems with no word in common (Vendi score over TF-IDF)",
    )
    for name, estimate in (("distinct_1", found.distinct_1), ("distinct_2", found.distinct_2)):
        what = "words" if name == "distinct_1" else "pairs of words in a row"
        reading = "distinct-n; it falls with the amount of text"
        family.measured(name, f"different {what}, of all in these problems", estimate, good=reading)
    family.measured(
        "of_documents",
        "effective problems for each effective document",
        by_halves(len(ids), lambda chosen: _vendi(made, chosen) / _vendi(given, chosen), seed),
        form="number",
        limit="diversity.of_documents",
        good="the problems keep the diversity of the corpus",
        bad="the problems are much more similar than the documents: the proposer asks the same about every text",
    )
    _own_document(family, problems @ texts.T, [documents[id_] for id_ in ids])


def _own_document(family: Family, likeness: Kernel, documents: Sequence[Document]) -> None:
    """`likeness` is that of each problem (row) to each document (column)."""
    nearest = [documents[int(place)] for place in likeness.argmax(axis=1)]
    same = {f"{own.id}/0": [float(_same(own, other))] for own, other in zip(documents, nearest, strict=True)}
    family.measured(
        "own_document",
        "problems whose nearest document is their own",
        share_of(same),
        limit="diversity.own_document",
        good="problems are about their documents, so the corpus is covered",
        bad="problems do not match their documents: they are about something else, or all about the same",
    )


def _same(one: Document, other: Document) -> bool:
    return one.id == other.id or (one.title != "" and one.title == other.title)


def _vendi(kernel: Kernel, chosen: Sequence[int]) -> float:
    return vendi(kernel[np.ix_(chosen, chosen)])


def _compare(family: Family, own: tuple[str, Texts], other: tuple[str, Texts], seed: int, lost: str = "") -> None:
    """Add the difference in effective number, and a table of all measures of both."""
    ids = [id_ for id_ in own[1] if id_ in other[1]]
    label = f"effective number, {own[0]} minus {other[0]}"
    if len(ids) < 4:
        few = f"only {len(ids)} of {len(own[1])} documents have a problem in both"
        family.missing(f"vendi.{other[0]}", label, f"{few}; {lost}" if lost else few)
        return
    one, two = [own[1][id_] for id_ in ids], [other[1][id_] for id_ in ids]
    vectors = tfidf([*one, *two])
    first, second = vectors[: len(ids)] @ vectors[: len(ids)].T, vectors[len(ids) :] @ vectors[len(ids) :].T
    family.measured(
        f"vendi.{other[0]}",
        label,
        by_halves(len(ids), lambda chosen: _vendi(first, chosen) - _vendi(second, chosen), seed),
        form="number",
        good=f"above 0 the former are more diverse; both from the same {len(ids)} documents",
    )
    rows = tuple(
        (name, str(len(ids)), *(f"{value:.3f}" for value in (distinct(texts, 1), distinct(texts, 2))), f"{vendi(kernel):.1f}")
        for name, texts, kernel in ((own[0], one, first), (other[0], two, second))
    )
    family.details.append(
        Detail("on the same documents", ("problems", "n", "distinct-1", "distinct-2", "effective number"), rows)
    )


def _problems_of(path: Path, round_: int) -> Texts:
    with watch_session(path) as session:
        made = (episode for episode in session.journal.episodes(round_) if episode.problem is not None)
        return {episode.document_id: episode.problem.text for episode in made if episode.problem}


REDUNDANT: Final = 0.9
"""Two criteria are redundant where their ratings correlate this much or more."""

_SHOWN: Final = 5


def rubrics(audited: AuditedRound, played: Played) -> Family:
    """Return the family of the rubrics."""
    family = Family(
        "rubrics", "Do the rubrics ask for the right things, and tell good answers from bad?", audited.options.limits
    )
    having = [one for one in audited.scored if one.rubric is not None]
    if not having:
        family.missing("rubrics", "rubrics", "the run verifies answers, without rubrics")
        return family
    _contents(family, having)
    _separation(family, having, audited)
    _reference(family, audited, played)
    return family


def _contents(family: Family, having: Sequence[Scored]) -> None:
    by_id = {one.id: one.rubric for one in having if one.rubric is not None}
    generic = generic_criteria(by_id)
    family.measured(
        "criteria",
        "criteria of a rubric",
        over_problems({id_: float(len(rubric.criteria)) for id_, rubric in by_id.items()}),
        form="number",
        good="on average",
    )
    family.measured(
        "gold",
        "criteria with a gold answer",
        share_of({id_: [float(has_gold(c)) for c in rubric.criteria] for id_, rubric in by_id.items()}),
        limit="rubrics.gold",
        good="most criteria give the right answer, taken from the document",
        bad="most criteria do not give the right answer: the judge has to know it, like the solver",
    )
    family.measured(
        "generic",
        "generic criteria",
        share_of({id_: [float(flag) for flag in flags] for id_, flags in generic.items()}),
        limit="rubrics.generic",
        good="criteria are specific to their problems (generic: no gold answer, and a name or text that fits any problem)",
        bad="many criteria fit any problem (clarity, accuracy …): they reward style",
    )
    names = Counter(c.name for id_, r in by_id.items() for c, flag in zip(r.criteria, generic[id_], strict=True) if flag)
    if names:
        rows = tuple((name, str(count)) for name, count in names.most_common(_SHOWN))
        family.details.append(Detail("most frequent generic criteria", ("name", "rubrics"), rows))


def _separation(family: Family, having: Sequence[Scored], audited: AuditedRound) -> None:
    if not audited.mode.rates_criteria:
        why = f"scoring {audited.mode.name} gives no ratings by criterion"
        family.missing("separation", "separation by each criterion", why)
        family.missing("redundant", "redundant pairs of criteria", why)
        return
    powers = {one.id: criterion_power(one.rubric, one.episode.evaluations) for one in having if one.rubric is not None}
    family.measured(
        "separation",
        "standard deviation of a criterion's ratings within a problem",
        share_of({id_: [power.std for power in found] for id_, found in powers.items()}),
        form="number",
        good="from 0 (all candidates rated alike) to 1",
    )
    family.measured(
        "rate_all_alike",
        "criteria that rate all candidates alike",
        share_of({id_: [float(power.std < ALIKE) for power in found] for id_, found in powers.items()}),
        limit="rubrics.rate_all_alike",
        good="most criteria separate candidates",
        bad="many criteria change no ranking: their calls are wasted, and pairs depend on the few others",
    )
    links = {one.id: rating_correlations(one.rubric, one.episode.evaluations) for one in having if one.rubric is not None}
    several = {id_: [float(r >= REDUNDANT) for r in found] for id_, found in links.items() if found}
    if not several:
        family.missing("redundant", "redundant pairs of criteria", "no rubric has two criteria that both separate candidates")
        return
    family.measured(
        "redundant",
        f"pairs of criteria whose ratings correlate by {REDUNDANT} or more",
        share_of(several),
        limit="rubrics.redundant",
        good="criteria look at different things",
        bad="criteria repeat each other: what they have in common counts several times",
    )


def _reference(family: Family, audited: AuditedRound, played: Played) -> None:
    label = "problems whose reference answer wins or ties for first place"
    if not played.references:
        family.missing("reference_wins", label, played.why_missing("references"))
        return
    scored = {one.id: one for one in audited.sample}
    wins = {id_: 1.0 if found.score >= max(scored[id_].scores.values()) else 0.0 for id_, found in played.references.items()}
    below = {
        id_: 1 - above(found.score, statistics.median(scored[id_].scores.values())) for id_, found in played.references.items()
    }
    family.measured(
        "reference_wins",
        label,
        share_of({id_: [won] for id_, won in wins.items()}),
        good="it was written with the document in view",
    )
    family.measured(
        "reference_below_median",
        "problems whose reference answer is below the median candidate",
        share_of({id_: [float(value == 1)] for id_, value in below.items()}),
        limit="rubrics.reference_below_median",
        good="rubrics reward what the document says",
        bad="rubrics reward something other than what the document says, or the reference answers are bad",
    )
