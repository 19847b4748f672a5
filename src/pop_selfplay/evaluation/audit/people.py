"""Do people agree with the judge? The labels of `labels.jsonl` against what the run's judge said of the same answers.

How often pairs are right follows from preferences on best and worst, with the judge's lead as the prediction for all problems.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from pop_selfplay import labels
from pop_selfplay.evaluation.audit.findings import Detail, Family
from pop_selfplay.evaluation.audit.sample import AuditedRound, ComparisonScores, Scored, share_of
from pop_selfplay.labels import Label
from pop_selfplay.stats.comparisons import Said, above, agreement_of, alpha_of, corrected_mean, kappa_of
from pop_selfplay.stats.intervals import SHARES

_WIDTHS: Final = (0.1, 0.05, 0.025)
_BEST: Final = "pairs in which people prefer the best candidate"
_SAID: Final = {"first": 1, "tie": 0, "second": -1}


def people(audited: AuditedRound, labelled: Mapping[str, Scored], truth: ComparisonScores | None) -> Family:
    """Return the family of what people say of the `labelled` problems of the round."""
    family = Family("people", "Do people agree with the judge?", audited.options.limits)
    given = [label for label in labels.read(audited.session.directory.path) if label.episode in labelled]
    if not given:
        family.missing("labels", "agreement with people", "nobody has labelled a problem of the round: `pop label RUN`")
        return family
    _agree(family, "ratings", "the judge", [both for label in given if (both := _rating(label, labelled[label.episode]))])
    _agree(family, "preferences", "the judge", _preferences(given, {id_: one.scores for id_, one in labelled.items()}))
    if truth is not None:
        _agree(family, "preferences_truth", truth.name, _preferences(given, truth.scores))
    _best_worst(family, audited, labelled, given)
    _between(family, given)
    marks = Counter(labels.MARKS[label.mark] for label in given if label.mark).most_common()
    family.details.append(Detail("what people marked", ("mark", "labels"), tuple((mark, f"{n}") for mark, n in marks)))
    return family


def _rating(label: Label, scored: Scored) -> Said | None:
    """Return a rating beside the judge's, rounded where that is a mean; on the whole answer beside its score."""
    found = next((e for e in scored.episode.evaluations if e.candidate == label.candidate and e.ratings), None)
    if label.rating is None or found is None:
        return None
    judge = ({rating.criterion: rating.rating for rating in found.ratings} | {"": found.score}).get(label.criterion)
    return None if judge is None else Said(label.episode, label.criterion or "(whole answer)", label.rating, round(judge))


def _lead(label: Label) -> int | None:
    """Return 1 where a preference is for the candidate of the smaller number, −1 for the other, 0 for a tie."""
    if label.better is None or label.candidate is None or label.other is None:
        return None
    return _SAID[label.better] * (1 if label.candidate < label.other else -1)


def _preferences(given: Sequence[Label], scores: Mapping[str, Mapping[int, float]]) -> list[Said]:
    found = []
    for label in given:
        one, other = (scores.get(label.episode, {}).get(index) for index in sorted((label.candidate or 0, label.other or 0)))
        lead = _lead(label)
        if lead is not None and one is not None and other is not None:
            found.append(Said(label.episode, "", lead, int(2 * above(one, other) - 1)))
    return found


def _agree(family: Family, name: str, other: str, both: Sequence[Said]) -> None:
    label = f"{name.partition('_')[0]} on which people and {other} agree"
    if not both:
        family.missing(name, label, "nobody has given one")
        return
    family.measured(name, label, agreement_of(both), good="the very same answer")
    family.measured(
        f"{name}_kappa",
        f"{label}, beyond chance (Cohen's κ)",
        kappa_of(both),
        form="number",
        limit="people.kappa" if name == "ratings" else "",
        good="1 is always, 0 is as often as by chance",
        bad="the judge agrees with people little more than by chance",
    )
    counts, seen = Counter((one.one, one.other) for one in both), sorted({value for one in both for value in one[2:]})
    rows = tuple((f"{row}", *(f"{counts[row, column]}" for column in seen)) for row in seen)
    family.details.append(Detail(f"{name}: people in rows, {other} in columns", ("", *map(str, seen)), rows))
    most = Counter(one.about for one in both if one.about).most_common(10)
    parts = {about: [one for one in both if one.about == about] for about, _ in most}
    rows = tuple((n, f"{len(p)}", f"{agreement_of(p).mean:.1%}", f"{kappa_of(p).mean:.2f}") for n, p in parts.items())
    if rows:
        family.details.append(Detail(f"{name} by criterion", ("criterion", "labels", "agree", "κ"), rows))


def _best_worst(family: Family, audited: AuditedRound, labelled: Mapping[str, Scored], given: Sequence[Label]) -> None:
    """Add how often the best candidate is really better than the worst: of the labelled problems, and of all."""
    low, high = audited.mode.score_range or (-10.0, 10.0)
    scores = {one.id: one.scores for one in (*audited.scored, *labelled.values()) if len(set(one.scores.values())) > 1}
    ends = {id_: (max(known.values()), min(known.values())) for id_, known in scores.items()}
    said = defaultdict(list)
    for label in given:
        pair = tuple(scores.get(label.episode, {}).get(index) for index in sorted((label.candidate or 0, label.other or 0)))
        lead, end = _lead(label), ends.get(label.episode)
        if lead is not None and end is not None and pair in (end, end[::-1]):
            said[label.episode].append((1 + lead * (1 if pair == end else -1)) / 2)
    right = {id_: sum(values) / len(values) for id_, values in said.items()}
    if not right:
        family.missing("best_worst", _BEST, "nobody has compared the best with the worst candidate of a problem")
        return
    family.measured("best_worst", _BEST, share_of({id_: [value] for id_, value in right.items()}), good="ties count half")
    found = corrected_mean(right, {id_: (best - worst) / (high - low) for id_, (best, worst) in ends.items()}, SHARES)
    good, bad = "how often the chosen answer is the better one (50 % is chance)", "too many pairs point the wrong way"
    text = "the same over all pairs, corrected by the judge's lead"
    family.measured("best_worst_corrected", text, found, limit="people.best_worst", good=good, bad=bad)
    half = (found.high - found.low) / 2
    rows = tuple((f"± {w:.1%}", f"{max(0, math.ceil(found.n * (half / w) ** 2) - found.n):,}") for w in _WIDTHS if half < 1)
    family.details.append(Detail("labelled pairs that such an interval still needs", ("interval", "more labels"), rows))


def _between(family: Family, given: Sequence[Label]) -> None:
    said: dict[str, dict[str, dict[str, float]]] = {"rating": defaultdict(dict), "preference": defaultdict(dict)}
    for label in given:
        value = label.rating if label.kind == "rating" else _lead(label)
        if value is not None:
            both = f"{sorted((label.candidate or 0, label.other or 0))}"
            said[label.kind][f"{label.episode}\t{label.criterion}\t{both}"][label.author] = value
    for kind, units in said.items():
        name, text = f"between_{kind}s", f"agreement between people on {kind}s (Krippendorff's α)"
        several = {about: list(values.values()) for about, values in units.items() if len(values) > 1}
        if several:
            family.measured(name, text, alpha_of(several), form="number", good="no judge agrees with people more than they do")
        else:
            family.missing(name, text, "no two people have labelled the same thing")
