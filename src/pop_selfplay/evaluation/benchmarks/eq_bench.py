"""EQ-Bench creative writing v3: 32 prompts with three openings each, rated on 22 criteria, and compared in pairs.

Rows (creative_writing_prompts_v3.json, an object by id): `writing_prompt` with a place `<SEED>`, `seed_modifiers`, `category`.
Option `iterations`: how many of the modifiers are used. The score is the mean of the ratings (those of weaknesses turned
round), times five: 0 to 100. With `--against` or `eq_bench_creative_baseline.*` every text is also compared with the
baseline's, the first 4,000 characters of both, in both orders, on nine aspects with one to five plus signs; the share of the
signs it wins makes `pairwise` and the Elo rating, the baseline at 1000.

As published, the judge is greedy, gets one user message and no system message, and leaves out the criteria that have nothing to
say about a text: here it says n/a, so that one it forgot is not taken for one of those.

Differences: the leaderboard's Elo comes from many models over 25 of the prompts, here it is Bradley-Terry between two over all.
The judge's prompts and the aspects of the comparison are ours, the judge sees the request with its seed in place, an answer it
cannot give in the form is asked for again, min_p is not sent, and texts under 500 characters count like all others.
"""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
from inspect_ai import Task
from inspect_ai.dataset import Dataset, MemoryDataset, Sample
from inspect_ai.model import Model
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import TaskState, generate
from inspect_evals.constants import INSPECT_EVALS_CACHE_PATH

from pop_selfplay.domains import Prompt, load_prompt
from pop_selfplay.evaluation.benchmarks.base import Item, Row, Setup, Value, read_file, read_items
from pop_selfplay.evaluation.benchmarks.parts import ask_judge, of_own, scored
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.method.parsing import Parsed, Rejection, extract_tag
from pop_selfplay.stats.comparisons import Game, elo, strengths
from pop_selfplay.stats.intervals import Estimate, Indices, bootstrap, clustered_mean
from pop_selfplay.tasks import together

read = of_own

STRENGTHS: Final = (
    "Adherence to Instructions",
    "Believable Character Actions",
    "Nuanced Characters",
    "Consistent Voice/Tone of Writing",
    "Imagery and Descriptive Quality",
    "Elegant Prose",
    "Emotionally Engaging",
    "Emotionally Complex",
    "Coherent",
    "Well-earned Lightness or Darkness",
    "Sentences Flow Naturally",
    "Overall Reader Engagement",
    "Overall Impression",
)
WEAKNESSES: Final = (
    "Meandering",
    "Weak Dialogue",
    "Tell-Don't-Show",
    "Unsurprising or Uncreative",
    "Amateurish",
    "Purple Prose",
    "Overwrought",
    "Incongruent Ending Positivity",
    "Unearned Transformations",
)
ASPECTS: Final = (
    "Characters that are true and have depth",
    "Ideas that interest and surprise",
    "Quality of the prose",
    "Coherence of plot and logic",
    "Doing what was asked",
    "World and atmosphere",
    "Freedom from cliché",
    "Freedom from wordiness",
    "Figures of speech that are earned",
)
_URL: Final = "https://raw.githubusercontent.com/EQ-bench/creative-writing-bench/main/data/creative_writing_prompts_v3.json"
_TOP: Final = 20.0
_MARGIN: Final = re.compile(r"([AB])(\+{1,5})")
_COMPARED: Final = 4000
"""So many characters of a text are compared, as published: what is longer wins nothing by that."""
_RESAMPLES: Final = 500


def make_task(setup: Setup) -> Task:
    """Return the task."""
    iterations = setup.options["iterations"]
    rows = setup.rows if setup.rows is not None else _hub()
    openings = [opening for row in rows for opening in _openings(dict(row), iterations, setup.benchmark.name)]
    items: Dataset = MemoryDataset(openings, name=setup.benchmark.name)
    referee = writing(setup.judge, None if setup.baseline is None else dict(setup.baseline))
    return Task(dataset=items, solver=generate(), scorer=referee, name=setup.benchmark.name)


def _openings(row: Row, iterations: int, name: str) -> list[Sample]:
    """Return the prompt of a row with each of its first seed modifiers."""

    def opening(part: Row) -> Sample:
        text = str(part["writing_prompt"]).replace("<SEED>", part["modifier"])
        return Sample(id=f"{part['id']}-{part['number']}", input=text, metadata={"prompt": str(part["id"])})

    modifiers = row.get("seed_modifiers") or [""]
    parts = [{**row, "modifier": modifier, "number": n} for n, modifier in enumerate(modifiers[:iterations])]
    samples: list[Sample] = read_items(parts, opening, name)
    return samples


def _hub() -> list[Any]:
    """Return the published prompts, fetched once and then kept."""
    path = INSPECT_EVALS_CACHE_PATH / "eq_bench" / "creative_writing_prompts_v3.json"
    if not path.is_file():
        reply = httpx.get(_URL, follow_redirects=True, timeout=60).raise_for_status()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, reply.text)
    return list(read_file(path))


@scorer(metrics=[mean()])
def writing(judge: Model, baseline: dict[str, str] | None) -> Scorer:
    """Have the judge rate each text, and compare it with the baseline's where there is one."""

    async def score(state: TaskState, target: Target) -> Score:
        text, request = state.output.completion, state.input_text
        theirs = None if baseline is None else baseline.get(str(state.sample_id))
        ratings = await ask_judge(judge, _rubric_messages(request, text), parse_ratings)
        if isinstance(ratings, Rejection):
            return Score.unscored(reason=f"judge_{ratings.reason}", explanation=ratings.detail)
        turned = [_TOP - rating if name in WEAKNESSES else rating for name, rating in ratings.items()]
        share = None if theirs is None else await _share(judge, request, text, theirs)
        if isinstance(share, Rejection):
            return Score.unscored(reason=f"judge_{share.reason}", explanation=share.detail)
        value = Value(5 * sum(turned) / len(turned))
        cluster = str(state.metadata["prompt"])
        return scored({"score": value}, answer=text, cluster=cluster, ratings=ratings, share=share)

    return score


async def _share(judge: Model, request: str, ours: str, theirs: str) -> float | Rejection:
    """Return which share of the plus signs our text wins over both orders; the same text is a draw without a call."""
    ours, theirs = ours[:_COMPARED], theirs[:_COMPARED]
    if ours == theirs:
        return 0.5
    as_a, as_b = await together(_share_of_a(judge, request, *texts) for texts in ((ours, theirs), (theirs, ours)))
    if isinstance(as_a, Rejection) or isinstance(as_b, Rejection):
        return as_a if isinstance(as_a, Rejection) else as_b
    return (as_a + 1 - as_b) / 2


async def _share_of_a(judge: Model, request: str, a: str, b: str) -> float | Rejection:
    return await ask_judge(judge, _pairwise_messages(request, a, b), parse_share)


def _rubric_messages(request: str, text: str) -> Any:
    return _prompt("rubric").fill({"request": request, "response": text}, {"criteria": _bullets((*STRENGTHS, *WEAKNESSES))})


def _pairwise_messages(request: str, first: str, second: str) -> Any:
    values = {"request": request, "response_a": first, "response_b": second}
    return _prompt("pairwise").fill(values, {"aspects": _bullets(ASPECTS)})


def _bullets(names: Sequence[str]) -> str:
    return "\n".join(f"- {name}" for name in names)


@cache
def _prompt(kind: str) -> Prompt:
    places = frozenset({"request", "response", "response_a", "response_b", "criteria", "aspects"})
    return load_prompt(Path(__file__).parent / "prompts" / f"eq_bench_{kind}.md", places)


def parse_ratings(completion: str) -> Parsed[dict[str, float]] | Rejection:
    """Return criterion → rating from 0 to 20, every criterion rated once; one that is "n/a" for this request is left out."""
    lines = _lines(completion, "scores", (*STRENGTHS, *WEAKNESSES))
    if isinstance(lines, Rejection):
        return lines
    ratings: dict[str, float] = {}
    for name, text in lines.items():
        if text.casefold() == "n/a":
            continue
        if not re.fullmatch(r"\d{1,2}(\.\d{1,2})?", text) or float(text) > _TOP:
            return Rejection("bad_rating", f"{text!r:.40} of {name!r} is no number from 0 to 20")
        ratings[name] = float(text)
    return Parsed(ratings) if ratings else Rejection("missing_rating", "every criterion is n/a")


def parse_share(completion: str) -> Parsed[float] | Rejection:
    """Return which share of all plus signs A got, each aspect decided once."""
    lines = _lines(completion, "winners", ASPECTS)
    if isinstance(lines, Rejection):
        return lines
    signs = {"A": 0, "B": 0}
    for name, text in lines.items():
        margin = _MARGIN.fullmatch(text)
        if margin is None:
            return Rejection("bad_verdict", f"{text!r:.40} on {name!r} is not A or B with one to five plus signs")
        signs[margin[1]] += len(margin[2])
    return Parsed(signs["A"] / (signs["A"] + signs["B"]))


def _lines(completion: str, tag: str, names: Sequence[str]) -> dict[str, str] | Rejection:
    """Return name → what stands after its colon, for lines between the tags that name each of `names` once."""
    body = extract_tag(completion, tag)
    if isinstance(body, Rejection):
        return body
    known = {" ".join(name.casefold().split()): name for name in names}
    found: dict[str, str] = {}
    for line in body.splitlines():
        if line.strip():
            label, _, text = line.rpartition(":")
            name = known.get(" ".join(label.strip(" -*").casefold().split()))
            if name is None or name in found:
                return Rejection("unknown_criterion" if name is None else "duplicate_rating", f"{line!r:.120}")
            found[name] = text.strip()
    missing = [name for name in names if name not in found]
    return Rejection("missing_rating", f"nothing for {missing!r:.200}") if missing else {name: found[name] for name in names}


def summary(items: Sequence[Item], seed: int) -> dict[str, Estimate]:
    """Return how the texts did beside the baseline's: the share of plus signs, in percent, and the Elo rating."""
    compared = [item for item in items if item.detail.get("share") is not None]
    if not compared:
        return {}
    shares, clusters = [100 * item.detail["share"] for item in compared], [item.group for item in compared]

    def rating(indices: Indices) -> float:
        games = [Game("model", "baseline", compared[place].detail["share"]) for place in indices]
        return elo(strengths(games, "baseline").by_player["model"])

    return {
        "pairwise": clustered_mean(shares, clusters, (0, 100)),
        "elo": bootstrap(rating, clusters, seed=seed, resamples=_RESAMPLES),
    }
