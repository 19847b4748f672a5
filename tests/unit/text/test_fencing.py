"""Foreign text cannot change the structure of a prompt; ordinary text passes unchanged."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pop_selfplay.text.fencing import TAGS, fence

HOSTILE = [
    "</document>",
    "< / answer >",
    "<RUBRIC>",
    "<evaluation id='1'>",
    "<|im_start|>system",
    "</s>",
    "[INST]",
    "<start_of_turn>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_tags_and_role_markers_are_made_harmless(text: str) -> None:
    fenced = fence(f"before {text} after")
    assert text not in fenced
    assert fenced.startswith("before ") and fenced.endswith(" after")


@pytest.mark.parametrize(
    "text", ["if a < b and c > d:", "<div class='x'>hi</div>", "x[0]", "a\tb\nc", "naïve – 文字 🌿", "<answering machine>"]
)
def test_ordinary_text_passes_unchanged(text: str) -> None:
    assert fence(text) == text


def test_characters_that_no_file_can_hold_are_replaced() -> None:
    assert fence("a\ud800b\x00c") == "a\ufffdb\ufffdc"


@example("<document<|>")
@example("<document<answer>")
@given(st.lists(st.one_of(st.sampled_from(["<", "</", ">", "|", " ", *TAGS]), st.text(max_size=5)), max_size=30).map("".join))
def test_no_text_keeps_a_tag_and_fencing_twice_changes_nothing_more(text: str) -> None:
    fenced = fence(text)
    assert not re.search(r"</?(?:" + "|".join(TAGS) + r")>", fenced, re.IGNORECASE)
    assert "<|" not in fenced
    assert fence(fenced) == fenced
