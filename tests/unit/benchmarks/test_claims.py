"""The study of the paper's claims computes what it says, and its page says what the figures say."""

import itertools
import json
import math
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.claims_page import verdict, write_page
from benchmarks.claims_report import cohens_h, difference, level, over_seeds, ratio, write_report
from benchmarks.crossed_bootstrap import Ratio
from benchmarks.plots import Row, intervals
from benchmarks.pocket_claims import all_pairs, claims
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.stats.comparisons import best_worst

ROOT = Path(__file__).parents[3]
ARMS = ("both", "proposer", "none")
TWO = st.integers(2, 8).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4).map(float), min_size=n, max_size=n)] * 2))
PLANTS = ("Cor-lock", "Vel-mora", "Bor-dain", "Tam-wort", "Kir-leth")


def exam(rng: random.Random, gain: float) -> dict[str, Any]:
    """Return known facts of 20 for each plant, before and after."""
    before = {plant: [float(rng.randint(6, 10)), 20.0] for plant in PLANTS}
    after = {plant: [known + round(20 * gain) + rng.randint(-1, 1), asked] for plant, (known, asked) in before.items()}
    return {"before": before, "after": after}


def run_of(seed: int, arm: str) -> dict[str, Any]:
    rng = random.Random(f"{seed}/{arm}")
    gain = 0.2 if arm == "both" else 0.0
    share = {"best_worst": 0.9, "all_pairs": 0.7, "spearman": 0.4, "trained_pair": 0.9, "self_score": 1, "true_score": 1}
    return {
        "seed": seed,
        "arm": arm,
        "exam": {f"{g} {m}": exam(rng, gain) for g in ("self_play", "held_out") for m in ("greedy", "sampled")},
        "agreement": {name: {plant: [10 * mean, 10] for plant in PLANTS} for name, mean in share.items()},
        "problems": [f"A question on {rng.choice(PLANTS)}: where does it grow and what does it cause?" for _ in range(30)],
    }


def test_an_effect_has_the_size_that_cohen_gives_it() -> None:
    assert cohens_h(0.5, 0.5) == 0 and cohens_h(1.0, 0.0) == pytest.approx(math.pi)
    assert cohens_h(0.65, 0.45) == pytest.approx(0.404, abs=1e-3)


def test_a_difference_of_shares_is_that_of_their_sums_and_of_every_seed() -> None:
    more = ratio([{"a": [3, 4], "b": [3, 4]}, {"a": [4, 4], "b": [2, 4]}], ["a", "b"])
    less = ratio([{"a": [1, 4], "b": [1, 4]}, {"a": [2, 4]}], ["a", "b"])
    found = difference(more, less)
    assert found.estimate.mean == pytest.approx(12 / 16 - 4 / 12)
    assert found.seeds == pytest.approx([0.5, 0.25]) and found.h == pytest.approx(cohens_h(12 / 16, 4 / 12))


def test_the_interval_over_seeds_is_students() -> None:
    found = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found["mean"] == 3 and found["high"] - 3 == pytest.approx(2.776 * np.std([1, 2, 3, 4, 5], ddof=1) / math.sqrt(5))
    assert over_seeds([1.0])["high"] is None


def test_a_claim_holds_only_where_the_whole_interval_does() -> None:
    assert verdict({"low": 0.01, "high": 0.3}) == "**holds**" and verdict({"low": -0.01, "high": 0.3}) == "cannot be told"
    assert verdict({"low": -0.3, "high": -0.1}) == "**the opposite holds**" and verdict({"low": None}) == "cannot be told"


def test_results_page_and_plots_follow_from_the_runs(tmp_path: Path) -> None:
    runs = [run_of(seed, arm) for seed in (1, 2, 3) for arm in ARMS]
    bare = [{"seed": seed, "problems": ["A question on Cor-lock: where does it grow?"] * 10} for seed in (1, 2, 3)]
    write_report(runs, bare, tmp_path / "results.json", tmp_path / "docs")
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    sums = {name: Ratio(*(np.array(of[side]) for side in ("above", "below"))) for name, of in results["sums"]["both"].items()}
    gained = difference(sums["self_play greedy after"], sums["self_play greedy before"]).as_json()
    assert gained == results["gain"]["self_play greedy"]["arms"]["both"], "intervals follow from the sums that are kept"
    assert level(sums["best_worst"]) == results["agreement"]["both"]["best_worst"]
    page = (tmp_path / "docs" / "claims.md").read_text(encoding="utf-8")
    assert "9 runs: seeds 1, 2, 3" in page and "$" not in page
    lines = {line.split(" | ")[1]: line for line in page.splitlines() if line.startswith("| (")}
    assert "**holds**" in lines["gain, both"] and "h = " in lines["gain, both"]
    assert "+20.0 [+20.0, +20.0]" in lines["difference, both"]
    assert "**holds**" in lines["effective plants, document minus nothing"]
    for name in ("gains", "agreement", "diversity"):
        ElementTree.parse(tmp_path / "docs" / f"claims_{name}.svg")
        assert f"(claims_{name}.svg)" in page


def test_the_page_and_its_plots_are_those_of_the_results(tmp_path: Path) -> None:
    figures = json.loads((ROOT / "benchmarks" / "results" / "pocket_claims.json").read_text(encoding="utf-8"))
    write_page(figures, tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (ROOT / "docs" / made.name).read_bytes(), made.name


def test_a_plot_escapes_labels_and_holds_every_value_within_its_axis() -> None:
    plot = intervals("a < b", "points", [Row("x & y", 0.5, -2, 3, [2.5, -1]), Row("z", 7, 6, 8)], line=0)
    root = ElementTree.fromstring(plot)
    places = [float(circle.attrib["cx"]) for circle in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert "a &lt; b" in plot and "x &amp; y" in plot and all(300 <= place <= 730 for place in places) and len(places) == 4


def test_one_seed_is_refused_before_anything_is_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        claims(["--seeds", "5", "--work", str(tmp_path / "work")])
    assert "two seeds" in capsys.readouterr().err and not (tmp_path / "work").exists()


def test_all_pairs_leaves_out_those_that_the_scores_do_not_tell_apart() -> None:
    assert all_pairs([1, 1], [0, 1]) is None
    # pairs told apart: (0,1) right, (0,2) wrong; (1,2) tie in the scores
    assert all_pairs([0, 1, 1], [1, 2, 0]) == 0.5
    assert all_pairs([0, 1, 2], [0, 2, 1]) == pytest.approx(2 / 3)


def test_two_candidates_are_one_pair_so_both_measures_are_the_same() -> None:
    for scores, truth in itertools.product([[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 1.0]]):
        assert best_worst(scores, truth) == all_pairs(scores, truth)


@given(TWO)
def test_all_pairs_with_the_reverse_are_one_minus_the_agreement(two: tuple[list[float], list[float]]) -> None:
    scores, truth = two
    found, reverse = all_pairs(scores, truth), all_pairs(scores, [-t for t in truth])
    assert (found is None) == (reverse is None)
    if found is not None and reverse is not None:
        assert 0 <= found <= 1 and found + reverse == pytest.approx(1)
        assert all_pairs(scores, [s**3 - 7 for s in scores]) == pytest.approx(1)
