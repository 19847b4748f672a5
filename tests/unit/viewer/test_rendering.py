"""What a model wrote is shown as HTML that can do nothing."""

import re

import pytest

from pop_selfplay.viewer.reading import parted, supported
from pop_selfplay.viewer.rendering import formula, markdown, word_difference

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1)) [y](https://example.com) <https://example.com>",
    "![i](https://example.com/a.png)",
    "$\\text{<script>alert(1)</script>}$",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "\\[\\href{javascript:alert(1)}{x}\\]",
    "$$\\style{background:url(https://example.com)}{x} \\class{toast}{y}$$",
    '<math href="javascript:alert(1)"><mtext><style><img src=x onerror=alert(1)></style></mtext></math>',
    "| a |\n|-|\n| <svg onload=alert(1)> |",
    "```html\n<iframe src=x></iframe>\n```",
)
ALLOWED = set(
    "p strong em del code pre ul ol li table thead tbody tr th td span small h1 h2 h3 h4 h5 h6 blockquote br hr "
    "math mrow mi mn mo mtext msup msub mfrac".split()
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_in_a_text_becomes_an_element_that_acts_or_an_address_that_is_fetched(text: str) -> None:
    html = markdown(text)
    assert {tag.lower() for tag in re.findall(r"<([a-zA-Z][\w-]*)", html)} <= ALLOWED
    assert not re.search(r"<[^>]*\s(href|src|style|on\w+|id)\s*=", html)


def test_markdown_and_formulas_are_rendered() -> None:
    html = markdown("**bold** costs $5 and $6, but $x^2$ and \\(\\frac{a}{b}\\)\n\n| a |\n|-|\n| b |")
    assert "<strong>bold</strong> costs $5 and $6" in html
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert "<mfrac>" in html and "<td>b</td>" in html


def test_a_formula_that_cannot_be_read_is_shown_as_it_is_written() -> None:
    assert formula("\\frac{", display=False) == '<code class="formula">\\frac{</code>'


@pytest.mark.parametrize("text", ("\\(" * 20_000, "[" * 20_000, "x" * 50_000))
def test_a_text_that_would_take_too_long_to_read_is_shown_as_it_is(text: str) -> None:
    assert markdown(text).startswith('<pre class="text">')


def test_words_that_only_one_text_has_are_marked_and_nothing_is_lost() -> None:
    left, right = word_difference("the cat sat on the mat", "the dog sat on a mat")
    assert "".join(part.text for part in left) == "the cat sat on the mat"
    assert [part.text.strip() for part in right if part.own] == ["dog", "a"]


def test_a_gold_answer_rests_on_the_sentence_that_says_it() -> None:
    document = "It grows in gardens. Its side effect is sweating. Healers give it for gout!"
    sentences = supported(document, ["It causes sweating", "for gout", "a long story of other things", ""])
    assert "".join(sentence.text for sentence in sentences) == document
    assert [sentence.golds for sentence in sentences] == [(), (1,), (2,)]


def test_reasoning_is_told_from_the_answer() -> None:
    assert parted("<think>a</think>b") == ("<think>a</think>", "b")
    assert parted("b") == ("", "b")
