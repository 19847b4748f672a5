"""What a model copied from its prompt is found, and what it wrote itself is not."""

import pytest

from pop_selfplay.domains import load_domain
from pop_selfplay.method.echo import ECHO, FixedText, echo_in, echoes, fixed_text, repeats_problem
from pop_selfplay.method.parsing import Marks, Proposal, Rejection
from pop_selfplay.records import Candidate, Criterion, Rating, Role, Rubric

PROMPT = """You set questions on cookery. Never point to a document, and put in all the context that is needed.

End with the rubric in exactly this form:

<problem>
the complete question, in the cook's words
</problem>
<answer>
concise steps, and at the end \\boxed{final answer}
</answer>
<rubric>
{"criterion_1": {"name": "short name", "gold": "Not applicable", "description": "what to look for", "weight": 4}}
</rubric>
<evaluation>
{"criterion_1": {"name": "exact name", "thoughts": "what is matched, missing or wrong", "rating": 1}}
</evaluation>
<rating_A>4</rating_A>
<rating_B>7</rating_B>

<document>
{{document}}
</document>"""
FIXED = fixed_text((PROMPT,))


def criterion(name: str = "Time in the oven", gold: str = "40 minutes", description: str = "names 40 minutes") -> Criterion:
    return Criterion(name=name, gold=gold, description=description, weight=1)


@pytest.mark.parametrize(
    "text",
    [
        "the complete question, in the cook's words",
        "The complete question in the cook’s WORDS.",
        "**the complete question, in the cook's own words**",
        "the complete question, in the user's words",
        "concise steps, and at the end \\boxed{final answer}",
        "Concise steps, and at the end 42.",
        "Short name",
        "short name 2",
        "what to look for",
        "put in all the context that is needed",
        "Never point to a document, and put in all the context that is needed. End with the rubric.",
    ],
)
def test_the_prompt_s_own_words_are_an_echo_however_they_are_dressed(text: str) -> None:
    assert echoes(text, FIXED)


@pytest.mark.parametrize(
    "text",
    [
        "How long does a leg of lamb take at 180 degrees, and when is it done?",
        "Put in all the flour that is needed.",
        "words",
        "42",
        "",
        "A",
        "Look for mould at the edges and throw the loaf away where you find any, since its threads go deep.",
        "The document of the cook names the steps; a complete question would ask for the context. Salt the water.",
    ],
)
def test_a_model_s_own_words_pass_though_they_share_phrases_with_the_prompt(text: str) -> None:
    assert not echoes(text, FIXED)


def test_what_fills_a_place_is_not_the_prompt_s_own() -> None:
    domain = load_domain("health_care")
    document = "Two drops of valerian, taken at night with a glass of warm water, calm the heart of the sleepless."
    domain.render("propose", document=document, title="")
    assert not echoes(document, domain.fixed_text(Role.PROPOSER))


@pytest.mark.parametrize(
    "value",
    [
        Proposal("the complete question, in the cook's words", "Forty minutes."),
        Proposal("How long does it take?", "concise steps, and at the end \\boxed{final answer}"),
        Candidate(index=0, completion="x", answer="concise steps, and at the end \\boxed{final answer}"),
        Rubric(criteria=(criterion(), criterion(name="short name"))),
        Rubric(criteria=(criterion(description="what to look for"),)),
        Rubric(criteria=(criterion(gold="put in all the context that is needed"),)),
        (Rating(criterion="a", rating=1, thoughts="what is matched, missing or wrong"),),
        Marks(4, 7),
    ],
)
def test_every_text_and_mark_of_a_value_is_looked_at(value: object) -> None:
    found = echo_in(value, "a completion of its own", FIXED)
    assert isinstance(found, Rejection) and found.reason == ECHO


@pytest.mark.parametrize(
    "value",
    [
        Proposal("How long does it take?", "Forty minutes."),
        Rubric(criteria=(criterion(gold="Not applicable"),)),
        (Rating(criterion="short name", rating=1, thoughts="It says 40 minutes, which is the gold answer."),),
        Marks(7, 4),
        "A",
    ],
)
def test_values_of_its_own_pass(value: object) -> None:
    assert echo_in(value, "It says 40 minutes, so A it is.", FIXED) is None


def test_a_value_without_texts_is_an_echo_where_the_whole_completion_is_one() -> None:
    said = "Never point to a document, and put in all the context that is needed. 7"
    assert echo_in(7.0, said, FIXED) is not None
    assert echo_in(7.0, "The answer names the time, 40 minutes, and the heat. 7", FIXED) is None


def test_a_bare_verdict_is_an_echo_only_where_the_prompt_shows_that_very_one() -> None:
    assert echo_in((4.0, 7.0), "<rating_A>4</rating_A>\n<rating_B>7</rating_B>", FIXED) is not None
    assert echo_in((4.0, 6.0), "<rating_A>4</rating_A>\n<rating_B>6</rating_B>", FIXED) is None
    assert echo_in((4.0, 7.0), "A is vague.\n<rating_A>4</rating_A>\n<rating_B>7</rating_B>", FIXED) is None


def test_a_sentence_of_the_prompt_in_an_own_text_is_an_echo_and_in_a_thought_is_not() -> None:
    own = "How long does a leg of lamb take at 180 degrees, and when is it done? A late guest asks, and the cook is in doubt."
    carried = f"{own} Never point to a document, and put in all the context. {own}"
    assert not echoes(own, FIXED) and echoes(carried, FIXED) and not echoes(carried, FIXED, thought=True)


def test_short_thoughts_may_use_the_prompt_s_phrases() -> None:
    thought = (Rating(criterion="a", rating=2, thoughts="all the context that is needed"),)
    assert echo_in(thought, "", FIXED) is None


def test_a_prompt_of_two_words_calls_nothing_an_echo() -> None:
    assert fixed_text(("propose\nDocument: {{document}}",)).forms == frozenset()
    assert not echoes("propose document", fixed_text(("propose\nDocument: {{document}}",)))
    assert not echoes(
        "anything at all that has quite a few words",
        FixedText((), frozenset(), frozenset(), frozenset(), frozenset(), frozenset()),
    )


def test_an_answer_that_is_the_problem_again_is_found() -> None:
    problem = "I have a leg of lamb of two kilograms. How long does it take at 180 degrees? Answer in one sentence."
    assert repeats_problem(problem, problem)
    assert repeats_problem(f"**{problem.upper()}**", problem)
    assert repeats_problem("How long does it take at 180 degrees?", problem)
    question = "How many drops of valerian calm the heart, and at which time of day are they taken?"
    for again in (f"The question is: {question}", question.replace("calm", "will calm"), f"You ask: {question}", "Why?"):
        assert repeats_problem(again, "Why?" if again == "Why?" else question)
    assert repeats_problem(f"{question} {question}", question)
    assert not repeats_problem("Which is larger, a cat or a dog? A dog.", "Which is larger, a cat or a dog?")
    for answer in (f"{question} Two.", f"{question} Two drops, at night.", "You ask how many drops of valerian. Two."):
        assert not repeats_problem(answer, question)
    assert repeats_problem("How long does it take?", "How long does it take, and at how many degrees?")
    assert not repeats_problem("in a bowl of salted water", "Should I soak them in a bowl of salted water or in milk?")


def test_an_answer_that_works_on_the_problem_s_own_text_is_none() -> None:
    text = "Yesterday we goes to the market, and there we buyed apples, pears and a lot of cheese for the whole week."
    problem = f"Correct the mistakes in this sentence: {text}"
    assert not repeats_problem(text.replace("goes", "went").replace("buyed", "bought"), problem)
    typo = "Correct this: the members of the club meets every Monday at seven in the old hall behind the church of the village."
    assert not repeats_problem(typo.removeprefix("Correct this: ").replace("meets", "meet"), typo)
    assert not repeats_problem("Apples, pears and a lot of cheese", problem)
