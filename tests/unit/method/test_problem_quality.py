"""A problem stands on its own and gives nothing away; honest problems pass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pop_selfplay.method.problems import boxed_reference, copies_document, points_at_text, repeats_reference
from pop_selfplay.method.tags import Parsed, Rejection

POINTING = [
    "According to the passage, what dose is safe?",
    "Based on the text, explain why the dose matters.",
    "What is the main point of the passage above?",
    "Which of the drugs mentioned in the document lowers blood pressure?",
    "The provided article names three causes. Which is the rarest?",
    "Using the given text, list two side effects.",
    "What does the study show? Answer according to the study.",
    "The document states that valerian calms. Why?",
    "As described in the excerpt, how is the root prepared?",
    "ACCORDING TO THE TEXT, who was first?",
    "Based upon this document: which plant is meant?",
    "Who is this article about, and what are they explaining?",
    "What does the passage clearly state about iron tablets?",
    "In the light of the information given in the source material, what follows?",
    "What is the main purpose of this recipe?",
    "What is the purpose and the situation of these instructions?",
    "Please help me explain and analyse this process for myself.",
]
STANDING = [
    "How much valerian calms the heart of an adult of 70 kg?",
    "I read an article on valerian in a magazine. According to the article, two drops are enough. Is that right?",
    "Write a scene in which Anna finds a letter in the document folder and reads the passage on her mother.",
    "My doctor gave me a report. What does it mean that, according to the report, my ferritin is 12?",
    "Which text messages should a clinic never send?",
    "Describe the passage of food through the gut.",
    "Nerve impulses travel along the passage between two vertebrae. What presses on them there?",
    "Summarise what follows according to the text. “Two drops of valerian calm the heart, says the herbalist, but not more than"
    " three should ever be taken by anyone at all.”",
    "Explain how a document database differs from a relational one, based on the access patterns of a shop.",
    "The author of a novel wants to show grief without naming it. How?",
    "In a text-based game, the player types commands. Design the parser.",
    "Correct the mistakes in this text: He go home and she have a cat.",
    "Turn this passage into a letter.\n\nAnna met Paul in spring, and they agreed to meet again.",
    "I wrote an article on valerian. Is this article too long for a newspaper?",
    "A hospital writes a source document for each trial. Who signs it?",
    "My grandmother's goulash takes four hours. How do I shorten this recipe?",
    "What drives this process of erosion, and how is it slowed?",
    "Shorten this recipe: boil the beans for an hour, then salt them.",
    "I have found my mother's letter in a drawer and wonder whether this letter may be thrown away?",
]


@pytest.mark.parametrize("problem", POINTING)
def test_a_problem_that_points_at_a_hidden_text_is_found(problem: str) -> None:
    assert points_at_text(problem)


@pytest.mark.parametrize("problem", STANDING)
def test_a_problem_that_stands_on_its_own_passes(problem: str) -> None:
    assert points_at_text(problem) == ""


@given(st.text())
def test_no_text_makes_the_checks_raise(text: str) -> None:
    assert points_at_text(text) in (text, points_at_text(text))
    assert isinstance(repeats_reference(text, text), bool)


def test_a_problem_that_holds_the_reference_answer_is_found_in_other_dress() -> None:
    answer = "Two drops of valerian, taken at night, calm the heart."
    assert repeats_reference(f"We know: two drops of VALERIAN taken at night calm the heart. Why? {'x ' * 50}", answer)
    assert not repeats_reference("How much valerian, taken at night, calms the heart?", answer)


def test_a_short_answer_may_occur_among_the_options_or_the_given_numbers() -> None:
    assert not repeats_reference("Is it valerian root, mint or sage? There are 12 drops.", "valerian root")
    assert not repeats_reference("Is it 12 or 13?", "\\boxed{12}")


@pytest.mark.parametrize("problem", ["What is 2 + 2? Answer: 4", "What is 2 + 2? (The answer is 4.)", "2 + 2? **Answer:** 4"])
def test_a_short_reference_answer_that_the_problem_calls_the_answer_is_given_away(problem: str) -> None:
    assert repeats_reference(problem, "4")


@pytest.mark.parametrize(
    ("problem", "reference"),
    [
        ("What is 2 + 2, given 4 apples?", "4"),
        ("Is the answer: yes or no?", "Yes"),
        ("Which answer is right?", "A"),
        ("Answer: 42", "4"),
    ],
)
def test_a_short_reference_answer_among_other_words_is_not(problem: str, reference: str) -> None:
    assert not repeats_reference(problem, reference)


@pytest.mark.parametrize(
    ("answer", "boxed"),
    [
        ("1867", "\\boxed{1867}"),
        (" Marie Curie. ", "\\boxed{Marie Curie}"),
        (
            "The lake is old. The final answer is 25 million years.",
            "The lake is old. The final answer is \\boxed{25 million years}",
        ),
        ("Add them.\n\n**Final answer:** $\\frac{1}{2}$", "Add them.\n\n**Final answer:** $\\boxed{\\frac{1}{2}}"),
        ("It opened late.\nThe answer is:\n1869", "It opened late.\nThe answer is:\n\\boxed{1869}"),
    ],
)
def test_a_final_answer_that_leaves_no_doubt_gets_its_box(answer: str, boxed: str) -> None:
    assert boxed_reference(answer) == Parsed(boxed, repaired=True)


@pytest.mark.parametrize(
    "answer",
    [
        "Marie Curie discovered polonium and radium.",
        "the final answer",
        "The final answer is given in the box at the end of this answer",
        "The final answer is one of many that could be given about this old and deep lake",
        "The final answer is \\frac{1}{2",
        "\\boxed{1} or \\boxed{2}",
        "so \\boxed{5",
        "\\boxed{}",
        "\\boxed{...}",
        "The final answers are 3 and 4.",
        "Answers: 3 and 4",
        "Answering this takes care.",
        "1\n14",
        "",
    ],
)
def test_a_final_answer_that_leaves_doubt_is_refused(answer: str) -> None:
    found = boxed_reference(answer)
    assert isinstance(found, Rejection) and found.reason == "no_final_answer"


def test_a_box_that_is_there_stays_as_it_is() -> None:
    for answer in ("So it is \\boxed{7}, the answer.", "\\boxed{\\left\\{1, 2\\right.}"):
        assert boxed_reference(answer) == Parsed(answer)


PASSAGE = (
    "The museum holds many uniforms worn by soldiers of the south, and many old flags, among them one that is said to be the "
    "first. It was sewn in a small town in the hills, by hand, within a single night."
)


def test_a_passage_of_the_document_that_asks_nothing_is_no_problem() -> None:
    assert copies_document(PASSAGE, f"Of old towns. {PASSAGE} More of it follows.")
    assert copies_document(f"Now {PASSAGE.upper()}", PASSAGE)


@pytest.mark.parametrize(
    "problem",
    [
        f"Write a letter to a friend about this. {PASSAGE}",
        f"{PASSAGE} Which town was it?",
        "The museum holds many uniforms worn by soldiers of the south",
        "Describe a museum with uniforms and flags for a guide that children of ten years read, in three short sentences.",
    ],
)
def test_what_asks_something_about_a_passage_is_a_problem(problem: str) -> None:
    assert not copies_document(problem, PASSAGE)
