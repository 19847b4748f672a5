"""Where sentences end, as Punkt has it (Kiss and Strunk 2006, in nltk), which IFEval's published checkers count with.

With nltk and its English data installed that is asked. Else `split` decides by the same rules: a mark ends a sentence if space
or other punctuation follows, unless it belongs to an abbreviation, an initial, a number or an ellipsis that the next word goes
on from. What Punkt learned from newspapers are tens of thousands of words with their habits of capitals; in their place are the
lists below, and whether the text itself has a word in small letters. docs/evaluation.md says how often both agree.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Final, NamedTuple

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
