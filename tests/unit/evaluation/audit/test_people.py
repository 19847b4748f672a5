"""Do people agree with the judge? On a run whose people are a script that knows what it says."""

import math
import random
from pathlib import Path

import pytest
from tests.integration.runs import small_run

from pop_selfplay import labels
from pop_selfplay.api import export
from pop_selfplay.evaluation.audit.people import people
from pop_selfplay.evaluation.audit.sample import ComparisonScores, Options, gather, labelled_episodes
from pop_selfplay.labels import Label, now
from pop_selfplay.results.audit import FamilyResult, MeasuredFigure
from pop_selfplay.runs.session import watch_session
from pop_selfplay.stats.comparisons import Said, agreement_of, corrected_mean, kappa, kappa_of, krippendorff


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("people"))


def family_of(run: Path) -> FamilyResult:
    with watch_session(run) as session:
        audited = gather(session, Options(play=False))
        truth = ComparisonScores("the truth", {one.id: one.scores for one in audited.scored})
        return people(audited, labelled_episodes(audited), truth).reported


def mean(family: FamilyResult, name: str) -> float:
    (figure,) = (figure for figure in family.figures if figure.name == name)
    assert isinstance(figure, MeasuredFigure) and figure.mean is not None, figure
    return float(figure.mean)


def test_without_labels_the_audit_says_how_to_get_them(run: Path) -> None:
    (figure,) = family_of(run).figures
    assert "pop label" in figure.missing


def test_a_person_who_says_what_the_judge_said_agrees_beyond_chance(run: Path, tmp_path: Path) -> None:
    with watch_session(run) as session:
        audited = gather(session, Options(play=False))
    for one in audited.scored:
        order = sorted(one.scores, key=lambda index: one.scores[index])
        given = [
            Label(
                episode=one.id,
                kind="preference",
                author="ann",
                time=now(),
                candidate=order[turn],
                other=order[turn - 1],
                better="tie" if one.scores[order[0]] == one.scores[order[-1]] else ("second", "first")[turn == -1],
            )
            for turn in (0, -1)[: 1 + (len(order) > 1)]
        ]
        rated = one.episode.evaluations[0]
        given += [
            Label(
                episode=one.id,
                kind="rating",
                author=author,
                time=now(),
                candidate=rated.candidate,
                criterion=rating.criterion,
                rating=int(rating.rating),
            )
            for rating in rated.ratings
            for author in ("ann", "bob")
        ]
        labels.add(run, given[:1] + given[2:])
    family = family_of(run)
    assert mean(family, "ratings") == mean(family, "preferences") == mean(family, "preferences_truth") == 1
    assert mean(family, "ratings_kappa") == 1
    assert mean(family, "best_worst") == mean(family, "best_worst_corrected") == 1
    assert mean(family, "between_ratings") == 1
    assert export(run, tmp_path / "labels.jsonl", "labels") == export(run, tmp_path / "labels.parquet", "labels") > 0


def test_kappa_is_what_is_left_beyond_chance() -> None:
    one, other = [0] * 45 + [1] * 15 + [0] * 25 + [1] * 15, [0] * 45 + [0] * 15 + [1] * 25 + [1] * 15
    assert kappa(one, other) == pytest.approx(0.1304, abs=1e-4)  # the textbook example: 0.60 seen, 0.54 by chance
    assert math.isnan(kappa([1, 1], [1, 1]))
    assert kappa([0, 1], [1, 0]) == -1


def test_alpha_is_that_of_krippendorffs_example() -> None:
    # "Computing Krippendorff's alpha-reliability", example C: four observers, twelve units, interval level
    units = [
        [1, 1, 1],
        [2, 2, 3, 2],
        [3, 3, 3, 3],
        [3, 3, 3, 3],
        [2, 2, 2, 2],
        [1, 2, 3, 4],
        [4, 4, 4, 4],
        [1, 1, 2, 1],
        [2, 2, 2, 2],
    ]
    units += [[5, 5, 5], [1, 1], [3]]
    assert krippendorff(units) == pytest.approx(0.849, abs=0.001)
    assert math.isnan(krippendorff([[1, 1], [1, 1]])) and math.isnan(krippendorff([[1], [2]]))


def test_agreement_has_an_interval_by_clusters() -> None:
    said = [Said(f"1/{n % 10}/0", "", n % 2, n % 2 if n % 5 else 1 - n % 2) for n in range(40)]
    share, beyond = agreement_of(said), kappa_of(said)
    assert share.mean == 0.8 and share.low < 0.8 < share.high
    assert beyond.mean == pytest.approx(0.6) and beyond.low < 0.6 < beyond.high


def test_the_corrected_mean_is_unbiased_where_predictions_are_not_and_covers_the_truth() -> None:
    rng, covered, widths, means = random.Random(0), 0, [], []
    for _ in range(60):
        worth = {f"{n}/0": rng.random() for n in range(800)}
        truth = {id_: float(rng.random() < value) for id_, value in worth.items()}
        predicted = {id_: 0.3 + 0.7 * value for id_, value in worth.items()}  # far too high
        some = {id_: truth[id_] for id_ in rng.sample(sorted(truth), 80)}
        found, alone = corrected_mean(some, predicted, (0, 1)), corrected_mean(some, dict.fromkeys(truth, 0.5), (0, 1))
        whole = sum(truth.values()) / len(truth)
        covered += found.low <= whole <= found.high
        means.append(found.mean - whole)
        widths.append((found.high - found.low) / (alone.high - alone.low))
    assert covered >= 53  # of 60, at 95 %
    assert abs(sum(means) / len(means)) < 0.02
    assert sum(widths) / len(widths) < 0.95  # and tells more than the labels alone
