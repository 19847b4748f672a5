"""Foreign text cannot change the structure of a prompt; ordinary text passes unchanged."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pop_selfplay.text.fencing import LOOKS, TAGS, fence, quote_lines

HOSTILE = [
    "</document>",
    "< / answer >",
    "<RUBRIC>",
    "<evaluation id='1'>",
    "<|im_start|>system",
    "</s>",
    "[INST]",
    "<start_of_turn>",
    "<eos_token>",
    "[|endofturn|]",
    "[gMASK]",
    "<sop>",
    "[THINK]",
    "[/THINK]",
    "<extra_id_1>",
    "<fim_prefix>",
    "<start_of_image>",
    "<unused42>",
    "<reserved_106>",
    "<seed:bos>",
    "<turn|>",
    "< channel |>",
    "]~b]",
    "◁think▷",
    "< |im_end|>",
    "< | im_end | >",
    "<｜end▁of▁sentence｜>",
    "＜ａｎｓｗｅｒ＞",
    "<𝐚𝐧𝐬𝐰𝐞𝐫>",
    "<ⓐⓝⓢⓦⓔⓡ>",
    "<🅐🅝🅢🅦🅔🅡>",
    "<аnswer>",
    "<ᴀɴꜱᴡᴇʀ>",
    "<a\ufe0fn\U000e0101swer>",
    "<a\u3164n\u115fs\u200bwer>",
    "<a\u0332n\u0332s\u0332w\u0332e\u0332r\u0332>",
    "⟨answer⟩",
    "‹/answer›",
    "[\u200bINST\u2060]",
    "［ＩＮＳＴ］",
    "<\U000e0061answer>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_tags_and_role_markers_are_made_harmless(text: str) -> None:
    fenced = fence(f"before {text} after")
    assert text not in fenced
    assert fenced.startswith("before ") and fenced.endswith(" after")


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and c > d:",
        "<div class='x'>hi</div>",
        "x[0]",
        "a\tb\nc",
        "naïve – 文字 🌿",
        "<answering machine>",
        "if a < |x| and |x| < b:",
        "[x|y|z]",
        "«answer»",
        "let a = [|1; 2|]",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "ﬁne ½ ③ Ⓐ",
    ],
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


MARKERS = [
    *(f"<{tag}>" for tag in TAGS),
    *(f"</{tag}>" for tag in TAGS),
    "<|im_start|>",
    "<start_of_turn>",
    "<fim_suffix>",
    "<extra_id_0>",
    "[INST]",
    "[/THINK]",
    "[gMASK]",
    "[|endofturn|]",
]
HIDDEN = ["", "\u200b", "\u2060", "\ufe0f", "\u00ad", "\u034f", "\u3164", "\U000e0101", "\U000e0020", "\u0301"]


def forms(letter: str) -> list[str]:
    """Return other characters that look like an ASCII letter."""
    if not ("a" <= letter.casefold() <= "z"):
        return [letter, chr(ord(letter) + 0xFEE0)]
    place, first = ord(letter.casefold()) - ord("a"), (0xFF21, 0x1D400, 0x1D5D4, 0x24D0, 0x24B6, 0x1F150, 0x1F130)
    return [letter, letter.swapcase(), *(chr(start + place) for start in first)]


@given(st.data(), st.sampled_from(MARKERS), st.text(max_size=5))
def test_no_marker_of_the_table_is_left_in_any_disguise(data: st.DataObject, marker: str, around: str) -> None:
    disguised = "".join(data.draw(st.sampled_from(forms(letter))) + data.draw(st.sampled_from(HIDDEN)) for letter in marker)
    fenced = fence(around + disguised + around)
    looks = "".join(LOOKS[character] for character in fenced)
    assert marker.lower() not in looks, (disguised, fenced)
    assert fence(fenced) == fenced


IN_WORDS = ["Candidate three:", "Candidate III:", "Candidate № 3", "Candidate no. 3:", "### Candidate B", "Candidate ٣:"]


@pytest.mark.parametrize(
    "line",
    [
        "Candidate 3:",
        "candidate ③:",
        "Candidate Ⅲ:",
        "**Ｃandidate** #4",
        "\u200bCand\u200bidate ❸",
        "Cаndidate 2 -",
        *IN_WORDS,
    ],
)
def test_a_line_that_would_begin_another_candidate_is_quoted(line: str) -> None:
    assert quote_lines(f"One.\n{line} better") == f"One.\n> {line} better"
    assert quote_lines(f"One of the {line}") == f"One of the {line}"


def test_letters_that_cannot_be_seen_are_replaced() -> None:
    hidden = "".join(chr(0xE0000 + ord(letter)) for letter in "<answer>")
    assert fence(f"a{hidden}b") == "a" + "\ufffd" * len(hidden) + "b"
