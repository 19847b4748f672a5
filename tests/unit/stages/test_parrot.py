"""A model that hands its prompt back, in whatever form is asked for, makes no problem, no answer, no rubric, no evaluation."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from pop_selfplay.domains import BUILT_IN
from pop_selfplay.episode import rate
from pop_selfplay.judging import MODES, Judge, PromptFile, ScoringMode, register
from pop_selfplay.method.echo import ECHO
from pop_selfplay.method.parsing import Parsed, Rejection, extract_tag
from pop_selfplay.models.base import ChatRequest
from pop_selfplay.records import Candidate, Completion, Document, Evaluation, Failure, Problem, Role, Rubric
from pop_selfplay.stages.calls import Cast, Question, ask
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric
from tests.unit.stages.scripted import DOCUMENT, PROBLEM, RUBRIC, Scripted, candidates, domain_named, play

ROOT: Final = Path(__file__).parents[3]
PLACEHOLDERS: Final = ROOT / "tests" / "unit" / "stages" / "placeholder_domain"
WORDY: Final = [path.parent.name for path in BUILT_IN.glob("*/domain.yaml") if path.parent.name != "pocket"]
DOMAINS: Final = [*sorted(WORDY), str(ROOT / "examples" / "recipes_domain"), str(PLACEHOLDERS)]
TAGS: Final = ("problem", "answer", "rubric", "evaluation", "better_answer", "rating_A", "rating_B")
VERDICT: Final = (
    "<!-- system -->\nYou are a judge who gives each of the answers one mark for its honesty and its good sense.\n"
    "Write it so:\n<mark>7</mark> for a good one\n<!-- user -->\n{{problem}}\n{{answer}}\nGive the mark."
)


class Marked(ScoringMode):
    """A mode of an installed package, whose values nobody but itself knows."""

    name = "marked"
    prompts = (PromptFile("mark", frozenset({"problem", "answer"}), text=VERDICT),)

    async def score(
        self, judge: Judge, problem: Problem, rubric: Rubric | None, judged: Sequence[Candidate], group: Sequence[Candidate]
    ) -> list[Evaluation | Failure]:
        def parse(completion: Completion) -> Parsed[float] | Rejection:
            said = extract_tag(completion.text, "mark")
            return said if isinstance(said, Rejection) else Parsed(float(said))

        found: list[Evaluation | Failure] = []
        for candidate in judged:
            messages = judge.render("mark", problem=problem.text, answer=candidate.answer)
            mark = await judge.ask(str(candidate.index), messages, parse, stop="</mark>")
            found.append(mark if isinstance(mark, Failure) else Evaluation(candidate=candidate.index, score=mark / 5))
        return found


@pytest.fixture(autouse=True)
def table() -> Iterator[None]:
    before = dict(MODES)
    register(Marked())
    domain_named.cache_clear()  # the new prompt is read with the domain
    yield
    MODES.clear()
    MODES.update(before)
    domain_named.cache_clear()


def sentences(whole: str) -> list[str]:
    """Return the passages of a prompt that a parrot can put in the place of a text: at least eight words long."""
    whole = re.sub(r"<[^>]*>", "\n", whole)
    return [
        line for line in re.split(r"(?<=[.:?])\s|\n", whole) if len(line.split()) >= 8 and '"' not in line and "\\" not in line
    ]


def as_shown(request: ChatRequest) -> str:
    """Hand back every form that the prompt shows filled, as it is."""
    shown = request.messages[0].content
    return "\n".join(block[0] for tag in (*TAGS, "mark") for block in re.finditer(rf"<{tag}>[^<]*</{tag}>", shown))


def line_of_json(request: ChatRequest) -> str:
    """Hand back the JSON that the prompt shows, bare."""
    found = re.findall(r"\{.*\}", request.messages[0].content)
    return str(found[-1]) if found else as_shown(request)


def by_first_words(request: ChatRequest) -> str:
    """Fill the form of the role with passages of what the prompt begins with."""
    one, two = (sentences(request.messages[0].content) * 2)[:2]
    return filled(request, one, two)


def by_last_words(request: ChatRequest) -> str:
    """Fill the form with what the prompt ends with, as a model does that takes the order for the text."""
    last = re.sub(r"</?\w+>", "", request.messages[-1].content.strip().splitlines()[-1])
    return filled(request, last, last) if len(last.split()) >= 8 else by_first_words(request)


def filled(request: ChatRequest, one: str, two: str) -> str:
    """Return the form of the role with these texts, all that must be a number with one that parses."""
    if request.role is Role.PROPOSER:
        return f"<problem>{one}</problem>\n<answer>{two} \\boxed{{1}}</answer>"
    if request.role is Role.SOLVER:
        return f"<answer>{one}</answer>"
    if request.role is Role.RUBRIC_WRITER:
        return f"<rubric>{json.dumps([{'name': 'Dose', 'gold': one, 'description': two, 'weight': 1}])}</rubric>"
    verdicts = {
        "</better_answer>": "<better_answer>A</better_answer>",
        "</rating_B>": "<rating_A>2</rating_A><rating_B>9</rating_B>",
    }
    if request.stop in verdicts:
        return f"{one} {two}\n{verdicts[request.stop]}"
    if request.stop == "</mark>":
        return f"{one} {two}\n<mark>7</mark>"
    names = [c.name for c in RUBRIC.criteria if f'"{c.name}"' in request.messages[-1].content]
    ratings = [{"name": name, "thoughts": one, "rating": 2} for name in names]
    return f"<evaluation>{json.dumps(ratings)}</evaluation>" if not request.top_logprobs else one


PARROTS: Final = (as_shown, line_of_json, by_first_words, by_last_words)
Parrot = Callable[[ChatRequest], str]


@pytest.mark.parametrize("parrot", PARROTS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_problem_no_answer_and_no_rubric_comes_of_an_echo(domain: str, parrot: Parrot) -> None:
    async def everything(cast: Cast) -> list[object]:
        shown = candidates("two drops", "three drops")
        return [
            await propose(cast, DOCUMENT, 1, "1/d1/0"),
            await propose(cast, Document(id="d1", text="x"), 1, "1/d1/1"),
            await solve(cast, PROBLEM, 1),
            await write_rubric(cast, DOCUMENT, PROBLEM, shown, 1),
        ]

    for sees in (["proposer", "rubric_writer"], []):
        made = play(Scripted(parrot), everything, domain=domain, document_for=sees)
        assert all(isinstance(outcome, Failure) for outcome in made), made


@pytest.mark.parametrize("mode", [*MODES, "marked"])
@pytest.mark.parametrize("parrot", PARROTS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_no_mode_scores_by_an_echo(domain: str, parrot: Parrot, mode: str) -> None:
    if not MODES[mode].prompts:
        return  # nobody is asked

    found = candidates("two drops", "three drops", "four")
    made = play(Scripted(parrot), lambda cast: rate(cast, PROBLEM, RUBRIC, found, 1), domain=domain, scoring=mode)
    assert isinstance(made, Failure), made


def test_answers_that_repeat_the_problem_are_refused_and_counted_as_echoes() -> None:
    problem = PROBLEM.model_copy(update={"text": "How many drops of valerian calm the heart, and when are they taken?"})
    failure = play(Scripted(lambda _: f"<answer>{problem.text}</answer>"), lambda cast: solve(cast, problem, 1))
    assert isinstance(failure, Failure) and ECHO in failure.detail


def test_an_echo_is_asked_for_again_and_written_down_with_its_reason() -> None:
    answers = iter(
        ["<answer>First think it over, step by step. Then write your complete answer to me.</answer>", "<answer>Two.</answer>"]
    )
    model = Scripted(lambda _: next(answers))

    async def work(cast: Cast) -> tuple[object, set[str]]:
        messages = cast.domain.render("solve", problem="How many drops?")
        question = Question(1, "e", Role.SOLVER, "0", messages)
        passage = " ".join(messages[-1].content.split("\n")[-1].split()[:8])
        first = f"<answer>{passage}</answer>"
        model._write = lambda _: first if len(model.requests) == 1 else "<answer>Two.</answer>"
        said = await ask(cast, question, lambda text: Parsed(Candidate(index=0, completion=text, answer=text[8:-9])))
        return said, {reason for (_, _, reason) in cast.journal.tally.calls}

    said, reasons = play(model, work)
    assert isinstance(said, Candidate) and said.answer == "Two." and reasons == {ECHO, ""}
