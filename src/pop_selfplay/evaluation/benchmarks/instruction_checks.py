"""Does a response do what a verifiable instruction asks? The 25 kinds of IFEval (arXiv 2311.07911), each one a pure function.

The rules are those of the published checkers, written anew: these are in no package index, and fetch language data when they
run. Three things differ, and docs/evaluation.md says how much that matters: sentences are split by `split` unless nltk and its
Punkt data are installed, capital words are found by a pattern, and keywords are taken literally where the original
reads them as patterns.

A new kind is a function of the response and its arguments, and a row in CHECKS. Which language a text is written in is asked of
`detect`, which the caller provides: a function from text to an ISO 639-1 code, None where it cannot tell.

Where sentences end, as Punkt has it (Kiss and Strunk 2006, in nltk), which IFEval's published checkers count with.

With nltk and its English data installed that is asked. Else `split` decides by the same rules: a mark ends a sentence if space
or other punctuation follows, unless it belongs to an abbreviation, an initial, a number or an ellipsis that the next word goes
on from. What Punkt learned from newspapers are tens of thousands of words with their habits of capitals; in their place are the
lists below, and whether the text itself has a word in small letters. docs/evaluation.md says how often both agree.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Final, NamedTuple

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


_PUNCTUATION: Final = ")\";}]*:@'({[!?‘’“”«»"
"""What may follow a mark at once; no word goes on over it."""
_OPENS: Final = '("`{[:;&#*@)}]-,'
"""What no word begins with."""
_MARK: Final = re.compile(rf"[.?!](?=[{re.escape(_PUNCTUATION)}])")
_WORD_END: Final = re.compile(rf"[{re.escape(_PUNCTUATION)}]|,$")
_CLOSING: Final = re.compile(r"[\"')\]}‘’“”«»]+(?:\s+|(?=--)|$)", re.MULTILINE)
"""Belongs to the sentence before it."""
_NUMBER: Final = re.compile(r"-?[.,]?\d[\d,.-]*")

# "e.g", "i.e" and "etc" are unknown to Punkt: with their full stop they end a sentence.
_ABBREVIATIONS: Final = frozenset(
    "mr mrs ms dr prof sen rep reps gen col maj lt adm st sr jr messrs co cos corp inc ltd bros cie vs ave ft mg yr ph.d "
    "u.s u.s.a u.k u.n a.m p.m d.c l.a m.b.a n.y n.j n.c s.c n.h n.d n.m r.i w.va jan feb aug sep sept oct nov dec "
    "tues wed fri ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn va vt wash wis "
    "c d e f g h k l m n p r s t v w".split()
)
_STARTERS: Final = frozenset(
    "according although among but both despite even given he here however if i in indeed instead into it many meanwhile "
    "moreover most nevertheless nonetheless nor separately similarly since so some such the there therefore these they this "
    "though thus under unless upon when whether which while within without yet your".split()
)
"""With a capital, these begin a sentence even after an abbreviation or an ellipsis."""
_COMMON: Final = _STARTERS | frozenset(
    "a about after all also an and another any are as at be because before being by can could did do does each either every "
    "few first for from had has have her him his how is its just later let like may more much my next no not now of often on "
    "once one only or other our out over perhaps same she should than that their them then through to today together too two "
    "until up use using very was we well were what where who whose why will with would yes you".split()
)
"""No names: after a single letter, these begin a sentence, where other capitals go on with a name."""


class _Context(NamedTuple):
    """What a mark stands in: the `word` that it ends, the `next` one, whether the word is first in its line, other words."""

    word: str
    next: str
    leads: bool
    small: frozenset[str]


@cache
def punkt() -> Callable[[str], Sequence[str]] | None:
    """Return nltk's English sentence splitter, which the published checkers use; None unless nltk and its data are installed.

    Both are optional: `pip install nltk`, then `python -m nltk.downloader punkt_tab`.
    """
    try:
        tokenize: Callable[[str], Sequence[str]] = import_module("nltk.tokenize.punkt").PunktTokenizer("english").tokenize
    except (ImportError, LookupError):
        return None
    return tokenize


def count_sentences(text: str) -> int:
    """Return how many sentences `text` has: by Punkt where it is installed, else by `split`."""
    return len((punkt() or split)(text))


def split(text: str) -> list[str]:
    """Return the sentences of `text`; closing quotes and brackets belong to the sentence before them."""
    found: list[str] = []
    for sentence in _cut(text):
        if found and (closing := _CLOSING.match(sentence)):
            found[-1] += closing[0].rstrip()
            sentence = sentence[closing.end() :]
        if sentence:
            found.append(sentence)
    return found


def _cut(text: str) -> Iterator[str]:
    """Yield the parts of `text` between the marks that end a sentence. In a run without space only the last one can."""
    runs = list(re.finditer(r"\S+", text))
    small = frozenset(run[0] for run in runs if run[0].islower())
    start = 0
    for place, run in enumerate(runs):
        following = runs[place + 1] if place + 1 < len(runs) else None
        if following is not None and run[0][-1] in ".?!":
            mark, resumes, next_ = run.end(), following.start(), _first_word(following[0])
        elif marks := list(_MARK.finditer(run[0])):
            mark = resumes = run.start() + marks[-1].end()
            next_ = text[mark]
        else:
            continue
        leads = place == 0 or "\n" in text[runs[place - 1].end() : run.start()]
        if _ends(text[run.start() : mark], next_, leads, small):
            yield text[start:mark]
            start = resumes
    yield text[start:].rstrip()


def _first_word(run: str) -> str:
    if run[0] in _OPENS + _PUNCTUATION:
        return run[0]
    word = _WORD_END.split(run, maxsplit=1)[0]
    return word.rstrip(".") or word


def _ends(run: str, next_: str, leads: bool, small: frozenset[str]) -> bool:
    """Return whether the mark at the end of `run` ends a sentence."""
    if "!" in run or "?" in run:
        return True
    begin = max(run.rfind(sign) for sign in _PUNCTUATION)
    if begin < 0 or run[begin] in _OPENS:  # other punctuation begins the word itself, as in 's.
        begin += 1
    word = run[begin:].lstrip(_OPENS)
    return _full_stop_ends(_Context(word, next_, leads and len(run) - len(word) < 2, small))


def _full_stop_ends(at: _Context) -> bool:
    stem, next_ = at.word[:-1].lower(), at.next.lower()
    starts = at.next[:1].isupper() and next_ in _STARTERS
    goes_on = at.next[:1].islower() or at.next[:1] in (";", ":", ",", ".", "!", "?")
    if stem.endswith("."):
        return starts
    if _NUMBER.fullmatch(stem):
        return not goes_on
    if stem in _ABBREVIATIONS or stem.rpartition("-")[2] in _ABBREVIATIONS:
        return starts and len(stem) > 1
    if len(stem) == 1 and stem.isalpha():
        initial = not at.leads or len(next_) == 1  # what leads its line numbers it, unless another initial follows
        named = at.next[:1].isupper() and next_ not in _COMMON and next_ not in at.small and initial
        return not goes_on and not named
    return True
