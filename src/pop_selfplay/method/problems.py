"""Is a problem fit to be asked, and was its rubric any good?

A problem must stand on its own, give nothing of the reference answer away, and not nearly repeat another: of every cluster one
stays. A rubric is known by its work (how far its criteria tell answers apart) and by faults that can be seen without grading:
criteria that fit any problem, criteria that say the same.
"""

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import Final, NamedTuple

import numpy as np

from pop_selfplay.method.notation import last_box
from pop_selfplay.method.tags import Parsed, Rejection
from pop_selfplay.records import Criterion, Evaluation, Rubric
from pop_selfplay.stats.comparisons import pearson
from pop_selfplay.text.overlap import Bands, Hashes, normalised_words, shingle_set, similarity, tfidf

_TEXT: Final = r"(?P<noun>text|passage|document|article|excerpt|extract|paragraph|snippet|source(?: material| text)?)s?"
_OTHER: Final = r"(?P<other>study|report|author|authors|abstract|website|page)"
_GIVEN: Final = r"(?:above|provided|given|supplied|preceding|accompanying|attached|aforementioned)"
_SAID: Final = (
    r"(?:described|stated|mentioned|discussed|explained|outlined|presented|listed|noted|reported|cited|given|provided)"
)
_SAYS: Final = (
    r"(?:clearly )?(?:describes?|states?|mentions?|discusses|explains?|outlines?|presents?|lists?|notes?|reports?|says|refers)"
)
_POINTERS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\baccording to (?:the|this) (?:{_GIVEN} )?(?:{_TEXT}|{_OTHER})\b",
        rf"\bbased (?:up)?on (?:the|this) (?:{_GIVEN} )?{_TEXT}\b",
        rf"\b{_SAID} (?:in|by) (?:the|this) (?:{_GIVEN} )?{_TEXT}\b",
        rf"\b(?:the|this) {_GIVEN} {_TEXT}\b",
        rf"\b(?:the|this) {_TEXT} (?:above|provided|supplied)\b",
        rf"\b(?:the|this) {_TEXT} {_SAYS}\b",
    )
)
_QUOTED: Final = re.compile(r"“[^”]{80,}”|\"[^\"]{80,}\"|```.{80,}?```|^>.{80,}", re.DOTALL | re.MULTILINE)
_CALLED_ANSWER: Final = re.compile(r"\b(?:answer|solution)\s*(?:is\s*:?|[:=：])", re.IGNORECASE)
_THIS: Final = re.compile(r"\bthis (?P<noun>text|passage|document|article|excerpt|extract)\b(?![^\n]*[:\n])", re.IGNORECASE)
"""Behind a colon or a line break the text itself may follow."""
_FINAL: Final = re.compile(
    r"(?:\bfinal answer|^\W*(?:the )?answer)\b(?: is\b)?\s*[:：]?[\s*_$]*(?P<value>[^\s*_$][^\n]*)\Z",
    re.IGNORECASE | re.MULTILINE,
)
_BARE_WORDS: Final = 5
_FINAL_WORDS: Final = 8
_SHINGLE: Final = 5
_UNSEEN: Final = re.compile(
    r"\bth(?:is|ese) (?P<noun>recipe|experiment|instruction|procedure|process|method|story|scene|poem|chapter|book|letter|list"
    r"|table|guide|statement|quotation)s?\b(?! (?:of|that|which|in which)\b)",
    re.IGNORECASE,
)
_NEXT_SENTENCE: Final = re.compile(r"[.!?:]\W*\s\W*\w|\n\W*\w")
_PASSAGE: Final = 20
_OWN_WORDS: Final = 2
_REPEATED_SHARE: Final = 0.8


def boxed_reference(answer: str) -> Parsed[str] | Rejection:
    r"""Return a reference answer with its one `\boxed{…}`; what leaves no doubt about its final answer gets the box here.

    That is a last line that says "the final answer is …", and an answer of one line, of up to five words. Small models write
    these where a box was asked for.
    """
    boxes = answer.count("\\boxed{")
    if boxes == 1 and last_box(answer) is not None:
        return Parsed(answer)
    text = answer.strip()
    called = _FINAL.search(text)
    value = (called["value"] if called else text).rstrip(" .*_$")
    clear = bool(value) and "\n" not in value and "answer" not in value.lower() and value.count("{") == value.count("}")
    if boxes or not clear or len(value.split()) > (_FINAL_WORDS if called else _BARE_WORDS):
        return Rejection("no_final_answer", f"the reference answer must hold exactly one whole \\boxed{{…}}: {answer!r:.200}")
    before = text[: called.start("value")] if called else ""
    return Parsed(f"{before}\\boxed{{{value}}}", repaired=True)


def points_at_text(problem: str) -> str:
    """Return the words by which `problem` points at a text that its reader does not have; "" where it stands on its own."""
    if _QUOTED.search(problem):
        return ""
    alone = _NEXT_SENTENCE.search(problem.strip()) is None  # more than one sentence may bring such a thing in
    for pointer in (*_POINTERS, _THIS, *([_UNSEEN] if alone else [])):
        for match in pointer.finditer(problem):
            names = match.groupdict()
            noun = names.get("noun") or names.get("other") or ""
            if not _brought_in(noun, problem[: match.start()]):
                return match[0]
    return ""


def _brought_in(noun: str, before: str) -> bool:
    """Whether the problem has spoken of such a text before it points at it: "a leaked report", "her article"."""
    introduction = rf"\b(?:an?|my|our|his|her|their|your|one|another|following)\s+(?:[\w'-]+\s+){{0,3}}?{re.escape(noun)}"
    return re.search(introduction, before, re.IGNORECASE) is not None


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + _SHINGLE]) for start in range(len(words) - _SHINGLE + 1)]


def copies_document(problem: str, document: str) -> bool:
    """Return whether `problem` is a passage of the document, 20 words or more, and asks nothing: two words of its own at most.

    A question is none, even where the document has it: people ask them there, too.
    """
    words = normalised_words(problem)
    if "?" in problem or len(words) < _PASSAGE:
        return False
    known = set(_runs(normalised_words(document)))
    starts = [start for start, run in enumerate(_runs(words)) if run in known]
    copied = {place for start in starts for place in range(start, start + _SHINGLE)}
    return len(words) - len(copied) <= _OWN_WORDS


def repeats_reference(problem: str, reference_answer: str) -> bool:
    """Return whether `problem` holds the reference answer: four fifths or more of its runs of five words.

    Words are compared as `text/overlap.py` normalises them. A reference answer of fewer than five words is found only where the
    problem calls it the answer ("Answer: 4"): elsewhere it may be one of the options, or a number among the given ones.
    """
    answer = normalised_words(reference_answer)
    runs = _runs(answer)
    if not runs:
        said = (normalised_words(problem[called.end() :]) for called in _CALLED_ANSWER.finditer(problem))
        return any(
            answer and words[: len(answer)] == answer and words[len(answer) : len(answer) + 1] != ["or"] for words in said
        )
    known = set(_runs(normalised_words(problem)))
    return sum(run in known for run in runs) >= _REPEATED_SHARE * len(runs)


class ProblemClusters:
    """The problems of a run so far, round by round. Holds about 2 KB for each."""

    def __init__(self, threshold: float) -> None:
        """Let problems be alike from a similarity of `threshold` in (0, 1] on."""
        self._threshold = threshold
        self._bands = Bands(threshold)
        self._shingles: list[Hashes] = []
        self._ids: list[str] = []
        self._leader: list[int] = []  # union-find, towards the place that came first

    def add_round(self, problems: Mapping[str, str]) -> dict[str, str]:
        """Take in the problems (id → text) of one round; return the id of each that goes → the id of the one that stays."""
        ids = sorted(problems)
        places = [self._add(id_, problems[id_]) for id_ in ids]
        kept = [self._ids[self._find(place)] for place in places]
        return {id_: stays for id_, stays in zip(ids, kept, strict=True) if stays != id_}

    def _add(self, id_: str, text: str) -> int:
        place, own = len(self._ids), shingle_set(text)
        self._ids.append(id_)
        self._shingles.append(own)
        self._leader.append(place)
        if own.size:
            keys = self._bands.keys(own)
            for other in self._bands.met(keys):
                if similarity(own, self._shingles[other]) >= self._threshold:
                    self._join(place, other)
            self._bands.put(keys, place)
        return place

    def _find(self, place: int) -> int:
        while self._leader[place] != place:
            self._leader[place] = self._leader[self._leader[place]]
            place = self._leader[place]
        return place

    def _join(self, one: int, other: int) -> None:
        a, b = sorted((self._find(one), self._find(other)))
        self._leader[b] = a


class Power(NamedTuple):
    """How far one criterion tells the candidates of a group apart. 0 in both: it rated them all alike.

    `std` is the population standard deviation of its ratings, in [0, 1]; `difference` the mean absolute difference between the
    ratings of two candidates, in [0, 2].
    """

    criterion: str
    std: float
    difference: float


ALIKE: Final = 0.05
"""A criterion rates all alike where the standard deviation of its ratings is less: one in a hundred a step higher gives 0.1."""


def criterion_power(rubric: Rubric, evaluations: Sequence[Evaluation]) -> tuple[Power, ...]:
    """Return the power of each criterion, in the rubric's order. Empty where fewer than two candidates have ratings."""
    rated = [{rating.criterion: rating.rating for rating in e.ratings} for e in evaluations if e.ratings]
    if len(rated) < 2:
        return ()
    names = [criterion.name for criterion in rubric.criteria]
    return tuple(Power(name, *_apart(tuple(sorted(ratings[name] for ratings in rated)))) for name in names)


@lru_cache(maxsize=10_000)
def _apart(ratings: tuple[float, ...]) -> tuple[float, float]:
    """Return standard deviation and mean absolute difference of sorted ratings.

    Sorted, whole ratings are one of a few hundred tuples: over a hundred thousand problems each is worked out once.
    """
    return statistics.pstdev(ratings), statistics.fmean(abs(a - b) for a, b in combinations(ratings, 2))


def verify_agreement(evaluations: Sequence[Evaluation]) -> float | None:
    """Return how often a candidate with the right final answer scores above one with a wrong one, in [0, 1]; ties count half.

    0.5 is chance. None where the group has no right or no wrong candidate.
    """
    right = [e.score for e in evaluations if e.verified is True]
    wrong = [e.score for e in evaluations if e.verified is False]
    if not right or not wrong:
        return None
    return statistics.fmean(1.0 if r > w else 0.5 if r == w else 0.0 for r, w in product(right, wrong))


def below_median(reference: Evaluation, evaluations: Sequence[Evaluation]) -> bool:
    """Return whether the reference answer scores below the median candidate: then the rubric misses what the answer knew."""
    return reference.score < statistics.median(evaluation.score for evaluation in evaluations)


NO_GOLD: Final = frozenset(
    {"", "not applicable", "n a", "na", "none", "no gold", "no gold answer", "nan", "null", "nil", "undefined"}
)
_QUALITIES: Final = frozenset(
    """
    accuracy accurate accurately appropriate appropriateness clarity clear clearly coherence coherent complete completeness
    comprehensive comprehensiveness concise conciseness consistency consistent correct correctness coverage creativity depth
    detail details detailed engaging engagement explanation factual factuality flow fluency format formatting general good
    grammar helpful helpfulness informative informativeness language length logic logical organisation organization originality
    overall precise precision presentation quality readability readable reasoning relevance relevant sound soundness specific
    specificity structure structured style thorough thoroughness tone understanding useful usefulness writing
    """.split()
)
_FUNCTION: Final = frozenset(
    "a all an and answer answers as by candidate content for from has in is its of on or response s the this to with".split()
)


def has_gold(criterion: Criterion) -> bool:
    """Whether the criterion says what is right: its gold is not empty and not a way to say that there is none."""
    return " ".join(normalised_words(criterion.gold)) not in NO_GOLD


def general_name(criterion: Criterion) -> bool:
    """Whether the name says nothing but a quality that any answer to any problem may have."""
    words = [word for word in normalised_words(criterion.name) if word not in _FUNCTION]
    return all(word in _QUALITIES for word in words)


def generic_criteria(rubrics: Mapping[str, Rubric]) -> dict[str, list[bool]]:
    """Return problem id → for each criterion of its rubric whether it is generic, by the rules at the top."""
    said = Counter(
        text for rubric in rubrics.values() for text in {_description(criterion) for criterion in rubric.criteria} if text
    )
    return {
        id_: [
            not has_gold(criterion) and (general_name(criterion) or said[_description(criterion)] > 1)
            for criterion in rubric.criteria
        ]
        for id_, rubric in rubrics.items()
    }


def rating_correlations(rubric: Rubric, evaluations: Sequence[Evaluation]) -> list[float]:
    """Return the correlation over candidates of the ratings of every two criteria, in [−1, 1], without those of flat ones."""
    rated = [{rating.criterion: rating.rating for rating in e.ratings} for e in evaluations if e.ratings]
    columns = [[ratings[criterion.name] for ratings in rated] for criterion in rubric.criteria] if rated else []
    found = [pearson(one, other) for one, other in combinations(columns, 2)]
    return [value for value in found if value is not None]


_PROBLEMS_A_CLUSTER: Final = 25
_MOST_CLUSTERS: Final = 8
_ROUNDS: Final = 10


def named_clusters(problems: Sequence[str], words: int = 3) -> dict[str, list[int]]:
    """Return clusters of problems by their words: the most telling words of each → the places of its problems.

    Spherical k-means over TF-IDF vectors, begun with the problems that are farthest apart. A word tells as much as p·ln(p / q),
    with p its share of the cluster's words and q that of all words. The same problems always give the same clusters. Nothing
    for too few to have two clusters.
    """
    count = min(_MOST_CLUSTERS, len(problems) // _PROBLEMS_A_CLUSTER)
    if count < 2:
        return {}
    vectors = tfidf(problems)
    middles = [int((vectors @ vectors.sum(axis=0)).argmax())]
    while len(middles) < count:
        middles.append(int((vectors @ vectors[middles].T).max(axis=1).argmin()))
    centres = vectors[middles]
    for _ in range(_ROUNDS):
        of = (vectors @ centres.T).argmax(axis=1)
        sums = np.array([vectors[of == cluster].sum(axis=0) for cluster in range(count)])
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    said = [Counter[str]() for _ in range(count)]
    for problem, cluster in zip(problems, of, strict=True):
        said[int(cluster)].update(normalised_words(problem))
    overall = sum(said, Counter[str]())
    named = {_telling(own, overall, words): np.flatnonzero(of == cluster).tolist() for cluster, own in enumerate(said)}
    return {name: places for name, places in named.items() if name}


def _telling(own: Counter[str], overall: Counter[str], words: int) -> str:
    within, among = own.total(), overall.total()
    tells = {word: n * math.log(n * among / (overall[word] * within)) for word, n in own.items()}
    return " ".join(sorted(tells, key=lambda word: (-tells[word], word))[:words])


def name_places(
    clusters: Mapping[str, Sequence[int]], xs: Sequence[float], ys: Sequence[float]
) -> dict[str, tuple[float, float]]:
    """Return where the name of each cluster stands on a map: in its middle, or above it where another name stands."""
    found: dict[str, tuple[float, float]] = {}
    middles = {name: [statistics.fmean(of[place] for place in places) for of in (ys, xs)] for name, places in clusters.items()}
    for name, (y, x) in sorted(middles.items(), key=lambda item: item[1]):
        wide, high = (max(xs) - min(xs)) / 4, (max(ys) - min(ys)) / 14
        while any(abs(x - a) < wide and abs(y - b) < high for a, b in found.values()) and high > 0:
            y += high
        found[name] = (x, y)
    return found


def _description(criterion: Criterion) -> str:
    return " ".join(normalised_words(criterion.description))
