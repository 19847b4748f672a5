"""Does a response do what a verifiable instruction asks? The 25 kinds of IFEval (arXiv 2311.07911), each one a pure function.

The rules are those of the published checkers, written anew: these are in no package index, and fetch language data when they
run. Three things differ, and docs/evaluation.md says how much that matters: sentences.py splits sentences unless nltk and its
Punkt data are installed, capital words are found by a pattern, and keywords are taken literally where the original
reads them as patterns.

A new kind is a function of the response and its arguments, and a row in CHECKS. Which language a text is written in is asked of
`detect`, which the caller provides: a function from text to an ISO 639-1 code, None where it cannot tell.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pop_selfplay.evaluation.benchmarks.sentences import count_sentences

Arguments = Mapping[str, Any]
Detect = Callable[[str], str | None]
Check = Callable[[str, Arguments, Detect], bool]

CONSTRAINED: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CAPITAL_CANDIDATE: Final = re.compile(r"[^\W\d_][\w&]*(?:-[\w&]+)*")


def follows(kind: str, response: str, arguments: Arguments, detect: Detect) -> bool:
    """Return whether `response` follows one instruction. An empty response follows none.

    Raises KeyError for an unknown kind or a missing argument.
    """
    return bool(response.strip()) and CHECKS[kind](response, arguments, detect)


def variants(response: str) -> Iterator[str]:
    """Yield the response and the forms of it that loose scoring forgives: without first or last line, or asterisks."""
    lines = response.split("\n")
    kept = (response, "\n".join(lines[1:]).strip(), "\n".join(lines[:-1]).strip(), "\n".join(lines[1:-1]).strip())
    yield from kept
    yield from (text.replace("*", "") for text in kept)


def _compare(count: int, relation: str, threshold: float) -> bool:
    return count < threshold if relation == "less than" else count >= threshold


def _keywords(text: str, arguments: Arguments, _: Detect) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in arguments["keywords"])


def _keyword_frequency(text: str, arguments: Arguments, _: Detect) -> bool:
    found = len(re.findall(re.escape(arguments["keyword"].strip()), text, re.IGNORECASE))
    return _compare(found, arguments["relation"], arguments["frequency"])


def _forbidden_words(text: str, arguments: Arguments, _: Detect) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in arguments["forbidden_words"])


def _letter_frequency(text: str, arguments: Arguments, _: Detect) -> bool:
    return _compare(text.lower().count(arguments["letter"].lower()), arguments["let_relation"], arguments["let_frequency"])


def _language(text: str, arguments: Arguments, detect: Detect) -> bool:
    return detect(text) in (arguments["language"], None)


def _sentences(text: str, arguments: Arguments, _: Detect) -> bool:
    return _compare(count_sentences(text), arguments["relation"], arguments["num_sentences"])


def _words(text: str, arguments: Arguments, _: Detect) -> bool:
    return _compare(len(re.findall(r"\w+", text)), arguments["relation"], arguments["num_words"])


def _paragraphs(text: str, arguments: Arguments, _: Detect) -> bool:
    """Paragraphs parted by ***; an empty one may stand only at either end."""
    parts = re.split(r"\s?\*\*\*\s?", text)
    if any(not part.strip() for part in parts[1:-1]):
        return False
    return bool(sum(bool(part.strip()) for part in parts) == arguments["num_paragraphs"])


def _nth_paragraph_first_word(text: str, arguments: Arguments, _: Detect) -> bool:
    """So many paragraphs parted by blank lines, and the n-th begins with the word."""
    parts, nth = text.split("\n\n"), int(arguments["nth_paragraph"])
    count = sum(bool(part.strip()) for part in parts)
    if nth > count or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return bool(count == arguments["num_paragraphs"] and first == arguments["first_word"].lower())


def _placeholders(text: str, arguments: Arguments, _: Detect) -> bool:
    return bool(len(re.findall(r"\[.*?\]", text)) >= arguments["num_placeholders"])


def _postscript(text: str, arguments: Arguments, _: Detect) -> bool:
    marker = arguments["postscript_marker"].strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(re.search(known.get(marker, re.escape(marker.lower())), text.lower()))


def _bullets(text: str, arguments: Arguments, _: Detect) -> bool:
    return bool(len(re.findall(r"^\s*(?:\*[^*]|-).*$", text, re.MULTILINE)) == arguments["num_bullets"])


def _constrained(text: str, _: Arguments, __: Detect) -> bool:
    return any(option in text for option in CONSTRAINED)


def _highlights(text: str, arguments: Arguments, _: Detect) -> bool:
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return bool(len(single) + len(double) >= arguments["num_highlights"])


def _sections(text: str, arguments: Arguments, _: Detect) -> bool:
    splitter = re.escape(arguments["section_spliter"].strip())
    return bool(len(re.findall(rf"{splitter}\s?\d+", text)) >= arguments["num_sections"])


def _json(text: str, _: Arguments, __: Detect) -> bool:
    body = re.sub(r"\A```(?:json|Json|JSON)?|```\Z", "", text.strip()).strip()
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, _: Arguments, __: Detect) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, _: Arguments, __: Detect) -> bool:
    parts = text.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    said = [part.strip() for part in parts if part.strip()]
    return len(said) == 2 and said[0] != said[1]


def _repeats_prompt(text: str, arguments: Arguments, _: Detect) -> bool:
    return text.strip().lower().startswith(arguments["prompt_to_repeat"].strip().lower())


def _end(text: str, arguments: Arguments, _: Detect) -> bool:
    return text.strip().strip('"').lower().endswith(arguments["end_phrase"].strip().lower())


def _quotation(text: str, _: Arguments, __: Detect) -> bool:
    stripped = text.strip()
    return len(stripped) > 1 and stripped[0] == stripped[-1] == '"'


def _capital_words(text: str, arguments: Arguments, _: Detect) -> bool:
    found = sum(word.isupper() for word in _CAPITAL_CANDIDATE.findall(text))
    return _compare(found, arguments["capital_relation"], arguments["capital_frequency"])


def _all_capital(text: str, _: Arguments, detect: Detect) -> bool:
    return text.isupper() and detect(text) in ("en", None)


def _all_lowercase(text: str, _: Arguments, detect: Detect) -> bool:
    return text.islower() and detect(text) in ("en", None)


def _no_comma(text: str, _: Arguments, __: Detect) -> bool:
    return "," not in text


CHECKS: Final[dict[str, Check]] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _keyword_frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:number_sentences": _sentences,
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": _words,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph_first_word,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:capital_word_frequency": _capital_words,
    "change_case:english_capital": _all_capital,
    "change_case:english_lowercase": _all_lowercase,
    "punctuation:no_comma": _no_comma,
}


def follow_all(
    kinds: Sequence[str], arguments: Sequence[Arguments], response: str, detect: Detect
) -> tuple[list[bool], list[bool]]:
    """Return for each instruction whether the response follows it, strictly and loosely (in any of its `variants`)."""
    asked = list(zip(kinds, arguments, strict=True))
    strict = [follows(kind, response, given, detect) for kind, given in asked]
    forms = list(variants(response))
    loose = [any(follows(kind, form, given, detect) for form in forms) for kind, given in asked]
    return strict, loose
