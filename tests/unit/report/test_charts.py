"""The pictures of the report are SVG that does nothing, in the colours of the page; without matplotlib there are tables."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.integration.runs import small_run

from pop_selfplay.report import charts
from pop_selfplay.text.overlap import flattened

HOSTILE = '</text><script>alert(1)</script> $\\frac{$ & "x"'


@pytest.mark.usefixtures("pictures")
def test_the_report_of_a_run_has_its_pictures_and_nothing_that_acts(tmp_path: Path) -> None:
    page = (small_run(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert page.count('<svg role="img" aria-label="') == 6  # the way to pairs, scores, lengths, the map, criteria, tokens
    assert not re.search(r"<script|<img|\son\w+=|<link|@import|url\(http", page)
    assert "default-src 'none'" in page and "versions.json" in page


def test_without_matplotlib_the_report_says_so(tmp_path: Path) -> None:
    page = (small_run(tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "<svg" not in page and "pop-selfplay[report]" in page


def test_foreign_names_are_text_in_a_picture() -> None:
    drawn = charts.bars({HOSTILE: 1.0, "b": 2.0}, "count", lost=["b"])
    assert "<script" not in drawn and "&lt;script&gt;" in drawn
    assert "var(--first)" in drawn and "var(--second)" in drawn and "#0102a1" not in drawn


def test_the_same_values_give_the_same_picture() -> None:
    one = charts.Interval("a", 1, 0, 2)
    assert charts.intervals([one], "x") == charts.intervals([one], "x")
    assert charts.curves([1, 2], {"loss": [1.0, 0.5]}) == charts.curves([1, 2], {"loss": [1.0, 0.5]})


def test_texts_that_are_alike_lie_together() -> None:
    xs, ys = flattened(np.array([[1, 0.9, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 0.8], [0, 0, 0.8, 1]]))
    near = (xs[0] - xs[1]) ** 2 + (ys[0] - ys[1]) ** 2
    far = (xs[0] - xs[2]) ** 2 + (ys[0] - ys[2]) ** 2
    assert far > 3 * near
