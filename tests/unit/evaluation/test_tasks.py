"""Every task reads its benchmark's own format, tells right from wrong, and never scores what a judge left open."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.evaluation.benchmarks.arena_hard import parse_verdict
from pop_selfplay.evaluation.benchmarks.eq_bench import ASPECTS, STRENGTHS, WEAKNESSES, parse_ratings, parse_share
from pop_selfplay.evaluation.specs import SuiteEntry, with_examples
from tests.unit.evaluation.makers import Player, playing, run, write_rows


def accuracy(result: dict[str, Any]) -> float:
    mean = result["benchmarks"][0]["figures"]["accuracy"]["model"]["mean"]
    assert isinstance(mean, float)
    return mean


def letter_of(text: str) -> Callable[[str], str]:
    """Return a player that names the letter before the option `text`."""

    def write(prompt: str) -> str:
        letter = re.search(rf"^([A-J])\) {re.escape(text)}$", prompt, re.MULTILINE)
        assert letter
        return f"ANSWER: {letter[1]}"

    return write


MEDQA: list[dict[str, Any]] = [
    {"id": "q1", "question": "Which?", "choices": ["heart", "liver", "lung"], "answer": ["liver"]},
    {"question": "And?", "options": {"A": "lung", "B": "liver"}, "answer_idx": "B"},
    {"question": "Or?", "options": [{"key": "A", "value": "liver"}, {"key": "B", "value": "lung"}], "answer_idx": "B"},
]
MMLU = [
    {
        "question_id": 7,
        "question": "Which?",
        "options": ["heart", "liver"],
        "answer": "B",
        "category": "Biology",
        "cot_content": "",
    }
]
GPQA = [
    {
        "Question": f"Which {n}?",
        "Correct Answer": "liver",
        **{f"Incorrect Answer {k}": f"wrong {k}" for k in (1, 2, 3)},
        "Record ID": f"r{n}",
        "High-level domain": "Biology",
        "Subdomain": "Genetics",
    }
    for n in range(6)
]


@pytest.mark.parametrize(("name", "rows", "right"), [("medqa", MEDQA, 2 / 3), ("mmlu_pro", MMLU, 1), ("gpqa_diamond", GPQA, 1)])
def test_multiple_choice_scores_the_letter(tmp_path: Path, name: str, rows: list[dict[str, Any]], right: float) -> None:
    data = write_rows(tmp_path / "data", name, rows)
    player = Player(letter_of("liver"))
    assert accuracy(run(tmp_path / "out", data, name, model=playing("m", player))) == pytest.approx(right)
    if name == "gpqa_diamond":
        assert len({player._write(request.messages[-1].content) for request in player.requests}) > 1


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("**Answer:** D", "D"),
        ("The answer is (D).", "D"),
        (r"so \boxed{D}", "D"),
        (r"ANSWER: \text{D}", "D"),
        ("The correct answer is **D**: the liver.", "D"),
        ("answer is D", "D"),
        ("Answer: $D$", "D"),
        ("Answer is option (D)", "D"),
        (r"The answer is \(D\).", "D"),
        ("**The correct option is: D) liver**", "D"),
        ("Thinking about it.\n\nD.", "D"),
        ("Therefore, I choose (D)", "D"),
        ("The answer is A. No: the answer is D", "D"),
        ("Answer: A\n...\nFinal answer: D", "D"),
        ("A body needs it. I cannot say", None),
        ("Answer: Zinc", None),
        ("The answer is Zinc or A Vitamin", None),
        ("Answer: Z", None),
        ("The answer is a mystery", None),
        ("", None),
    ],
)
def test_the_letter_is_read_from_the_usual_phrases_and_never_from_running_text(said: str, letter: str | None) -> None:
    from pop_selfplay.evaluation.benchmarks.base import letter_in

    assert letter_in(said, 10) == letter


def test_an_answer_that_names_no_letter_is_wrong_and_counted(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "medqa", MEDQA)
    figures = run(tmp_path / "out", data, "medqa", model=playing("m", lambda prompt: "I would rather not say"))
    means = {name: of["model"]["mean"] for name, of in figures["benchmarks"][0]["figures"].items()}
    assert means == {"accuracy": 0, "no_letter": 1}


def test_worked_examples_of_the_same_subject_stand_before_a_question_of_mmlu_pro(tmp_path: Path) -> None:
    subject = str(MMLU[0]["category"])
    examples = [{**MMLU[0], "question_id": 900 + n, "question": f"Example {n}?", "category": subject} for n in range(6)]
    examples.append({**MMLU[0], "question_id": 999, "question": "Another field?", "category": "law"})
    data = write_rows(tmp_path / "data", "mmlu_pro", [MMLU[0]])
    player = Player(letter_of("liver"))
    with pytest.raises(ConfigError, match="mmlu_pro_validation"):
        run(tmp_path / "out", data, SuiteEntry(name="mmlu_pro", options={"fewshot": 5}), model=playing("m", player))
    write_rows(tmp_path / "data", "mmlu_pro_validation", examples)
    run(tmp_path / "out", data, SuiteEntry(name="mmlu_pro", options={"fewshot": 5}), model=playing("m", player))
    told = player.requests[0].messages[0].content
    assert [f"Example {n}?" in told for n in range(6)] == [True] * 5 + [False] and "Another field?" not in told


def test_few_shot_is_for_the_benchmarks_that_have_worked_examples() -> None:
    both = with_examples([SuiteEntry(name="mmlu_pro"), SuiteEntry(name="medqa")], 5)
    assert [choice.all_options for choice in both] == [{"fewshot": 5}, {}]
    with pytest.raises(UsageError, match="gsm8k, mmlu_pro"):
        with_examples([SuiteEntry(name="medqa")], 5)


def test_aime_takes_the_last_number_of_both_years(tmp_path: Path) -> None:
    write_rows(tmp_path / "data", "aime2024", [{"ID": "1", "Problem": "Six sevens?", "Answer": 42, "Solution": ""}])
    data = write_rows(tmp_path / "data", "aime2025", [{"id": "1", "problem": "Two?", "answer": "002"}])
    choices = [SuiteEntry(name=name, epochs=2) for name in ("aime2024", "aime2025")]
    model = playing("m", lambda prompt: "So\nANSWER: \\boxed{42}" if "Six" in prompt else "ANSWER: 3")
    result = run(tmp_path / "out", data, *choices, model=model)
    assert [row["figures"]["accuracy"]["model"]["mean"] for row in result["benchmarks"]] == [1, 0]


def test_ifeval_counts_prompts_and_instructions_strictly_and_loosely(tmp_path: Path) -> None:
    kinds = ["punctuation:no_comma", "detectable_format:number_bullet_lists"]
    rows = [
        {"key": 1, "prompt": "List.", "instruction_id_list": kinds, "kwargs": [{}, {"num_bullets": 1, "keyword": None}]},
        {"key": 2, "prompt": "Quote.", "instruction_id_list": ["startend:quotation"], "kwargs": [{}]},
    ]
    data = write_rows(tmp_path / "data", "ifeval", rows)
    model = playing("m", lambda prompt: "* one, two" if "List" in prompt else 'Here:\n"it"')
    figures = run(tmp_path / "out", data, "ifeval", model=model)["benchmarks"][0]["figures"]
    means = {name: figure["model"]["mean"] for name, figure in figures.items()}
    assert means == pytest.approx(
        {"prompt_strict": 0, "instruction_strict": 1 / 3, "prompt_loose": 0.5, "instruction_loose": 2 / 3}, abs=1e-6
    )
    bad = write_rows(tmp_path / "bad", "ifeval", [{**rows[1], "instruction_id_list": ["startend:rhyme"]}])
    with pytest.raises(ConfigError, match="startend:rhyme"):
        run(tmp_path / "out", bad, "ifeval", model=model)


def test_the_language_of_a_text_is_the_same_every_time() -> None:
    from pop_selfplay.evaluation.benchmarks.ifeval import language_of

    assert {language_of("Der Hund läuft schnell durch den Wald.") for _ in range(5)} == {"de"}
    assert language_of("12345 !!!") is None


HEALTH = [
    {
        "prompt_id": "h1",
        "prompt": [{"role": "user", "content": "My {head} hurts."}],
        "rubrics": [
            {"criterion": "advises rest", "points": 6, "tags": []},
            {"criterion": "advises water", "points": 4, "tags": []},
            {"criterion": "is rude", "points": -5, "tags": []},
        ],
        "example_tags": ["theme:pain"],
    }
]


def physician(prompt: str) -> str:
    asked = prompt.rpartition("# Rubric item")[2].partition("# Instructions")[0]
    conversation = prompt.partition("# Conversation")[2].partition("# Rubric item")[0]
    met = any(word in asked and word in conversation for word in ("rest", "rude"))
    return f"```json\n{json.dumps({'explanation': 'x', 'criteria_met': met})}\n```"


def test_healthbench_weighs_criteria_by_their_points_and_subtracts(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "healthbench", HEALTH)
    judge = Player(physician)
    model, base = (
        playing("m", lambda prompt: "Take a rest."),
        playing("b", lambda prompt: "rest, you rude fool <<rubric_item>>"),
    )
    result = run(tmp_path / "out", data, "healthbench", model=model, against=base, judge=playing("j", judge))
    figure = result["benchmarks"][0]["figures"]["score"]
    assert (figure["model"]["mean"], figure["base"]["mean"]) == (0.6, pytest.approx(0.1))
    assert len(judge.requests) == 6 and all("My {head} hurts." in r.messages[-1].content for r in judge.requests)


def test_an_answer_of_the_judge_that_cannot_be_read_costs_the_item_and_no_points(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "healthbench", HEALTH)
    judge = Player(lambda prompt: '{"criteria_met": "perhaps"}')
    result = run(tmp_path / "out", data, "healthbench", model=playing("m", lambda p: "Rest."), judge=playing("j", judge))
    row = result["benchmarks"][0]
    assert row["lost"]["model"] == {"judge_bad_verdict": 1} and row["figures"]["score"]["model"]["n"] == 0
    assert len(judge.requests) == 9 and {request.temperature for request in judge.requests} == {0.0, 0.7}


def test_writingbench_averages_the_ratings_of_its_checklist(tmp_path: Path) -> None:
    checklist = [{"name": f"c{n}", "criteria_description": "d"} for n in range(5)]
    rows = [
        {"index": 1, "domain1": "x", "domain2": "y", "query": "Write {answer}.", "checklist": checklist},
        {"index": 2, "domain1": "x", "domain2": "y", "query": "写。", "checklist": checklist},
    ]
    data = write_rows(tmp_path / "data", "writingbench", rows)

    def editor(prompt: str) -> str:
        rated = re.search(r"'name': 'c(\d)'", prompt)
        assert rated and "My {{story}}" in prompt and "Write {answer}." in prompt
        return json.dumps({"score": 2 * int(rated[1]) + 1, "reason": "so"})

    model, judge = playing("m", lambda prompt: "<think>{{no}}</think>My {{story}}"), Player(editor)
    english = SuiteEntry(name="writingbench", options={"language": "en"})
    result = run(tmp_path / "out", data, english, model=model, judge=playing("j", judge))
    assert result["benchmarks"][0]["figures"]["score"]["model"] == {"mean": 5.0, "low": None, "high": None, "n": 1}
    assert [[message.role for message in request.messages] for request in judge.requests] == [["system", "user"]] * 5
    assert all("{{no}}" not in request.messages[-1].content for request in judge.requests)


def test_writingbench_samples_its_judge_as_published_also_when_asked_again(tmp_path: Path) -> None:
    judge = Player(lambda prompt: "no rating")
    run(tmp_path / "out", None, "writingbench", model=playing("m", lambda p: "text"), judge=playing("j", judge), limit=1)
    sampled = [(request.temperature, request.top_p, request.max_tokens) for request in judge.requests]
    assert sampled == [(1.0, 0.95, 2048)] * 15
    assert len({request.seed for request in judge.requests}) == 15, "the same question asked again is another draw"


def test_writingbench_ships_with_inspect_evals(tmp_path: Path) -> None:
    judge = playing("j", lambda prompt: '{"score": 7, "reason": "x"}')
    result = run(tmp_path / "out", None, "writingbench", model=playing("m", lambda p: "text"), judge=judge, limit=2)
    assert result["benchmarks"][0]["figures"]["score"]["model"]["mean"] == 7.0


ARENA = [{"uid": f"u{n}", "prompt": f"Question {n}?", "category": "hard_prompt" if n else "creative_writing"} for n in range(5)]


def referee(better: str, worse: str) -> Callable[[str], str]:
    """Return a judge that calls answers with the word good better, by the verdicts `better` (as A) and `worse` (as B)."""

    def write(prompt: str) -> str:
        first = prompt.partition("<answer_a>")[2].partition("</answer_a>")[0]
        second = prompt.partition("<answer_b>")[2].partition("</answer_b>")[0]
        if ("good" in first) == ("good" in second):
            return "[[A=B]]"
        return f"So: [[{better if 'good' in first else worse}]]"

    return write


GOOD, PLAIN = playing("good", lambda p: f"a good answer to {p}"), playing("plain", lambda p: f"an answer to {p}")


def test_arena_hard_compares_with_the_base_in_both_orders(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "arena_hard_v2", ARENA)
    judge = Player(referee("A>>B", "B>A"))
    result = run(tmp_path / "out", data, "arena_hard_v2", model=GOOD, against=PLAIN, judge=playing("j", judge))
    row = result["benchmarks"][0]
    assert row["figures"]["win_rate"]["base"]["mean"] == 0.5 and row["figures"]["win_rate"]["model"]["mean"] == 1
    assert row["figures"]["win_rate"]["difference"]["mean"] == 0.5 and len(judge.requests) == 10
    assert row["summary"]["flip_rate"]["mean"] == 0 and row["summary"]["style_controlled"]["mean"] > 0.9
    assert row["summary"]["length_controlled"]["n"] == 5


def test_a_strong_verdict_counts_three_times_and_a_flip_is_seen(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "arena_hard_v2", ARENA)
    partial = playing("j", referee("A>>B", "A>B"))
    hard = SuiteEntry(name="arena_hard_v2", options={"category": "hard_prompt"})
    row = run(tmp_path / "out", data, hard, model=GOOD, against=PLAIN, judge=partial)["benchmarks"][0]
    assert row["figures"]["win_rate"]["model"]["mean"] == 0.75
    assert row["summary"]["flip_rate"]["mean"] == 1


def test_arena_hard_reads_the_first_version_and_published_baselines(tmp_path: Path) -> None:
    rows = [{"question_id": f"q{n}", "category": "x", "turns": [{"content": f"Question {n}?"}]} for n in range(3)]
    data = write_rows(tmp_path / "data", "arena_hard_v0.1", rows)
    answers = [{"question_id": f"q{n}", "choices": [{"turns": [{"content": "an answer"}]}]} for n in range(2)]
    write_rows(data, "arena_hard_v0.1_baseline", answers)
    result = run(tmp_path / "out", data, "arena_hard_v0.1", model=GOOD, judge=playing("j", referee("A>B", "B>A")))
    row = result["benchmarks"][0]
    assert row["figures"]["win_rate"]["model"]["n"] == 2 and row["lost"]["model"] == {"no_baseline": 1}
    second: list[dict[str, Any]] = [
        {"uid": "u1", "messages": [{"content": "q"}, {"content": {"answer": "an answer"}}]},
        {"uid": "u2"},
    ]
    write_rows(data, "arena_hard_v0.1_baseline", second)
    with pytest.raises(ConfigError, match="row 2 of arena_hard_v0"):
        run(tmp_path / "out", data, "arena_hard_v0.1", model=GOOD, judge=playing("j", referee("A>B", "B>A")))


def test_a_comparison_without_a_judge_or_a_baseline_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "arena_hard_v2", ARENA)
    with pytest.raises(UsageError, match="--judge"):
        run(tmp_path / "out", data, "arena_hard_v2", model=GOOD, against=PLAIN)
    with pytest.raises(UsageError, match="--against"):
        run(tmp_path / "out", data, "arena_hard_v2", model=GOOD, judge=PLAIN)


@pytest.mark.parametrize("text", ["A>B", "[[A]]", "[[A>B]] or [[B>A]]", ""])
def test_a_verdict_that_is_none_or_two_is_refused(text: str) -> None:
    assert not hasattr(parse_verdict(text), "value")


STORIES = {
    str(n): {
        "category": "c",
        "writing_prompt": f"Story {n}. <SEED> Now.",
        "seed_modifiers": ["Rain.", "Snow.", "Wind.", "Hail."],
    }
    for n in (1, 2)
}


def editor(prompt: str) -> str:
    """Rate 16 and 4, better where the word good is; compare by the same word."""
    if "<response_a>" in prompt:
        first = "good" in prompt.partition("<response_a>")[2].partition("</response_a>")[0]
        lines = "\n".join(f"{aspect}: {'A+++' if first else 'B+++'}" for aspect in ASPECTS)
        return f"<winners>\n{lines}\n</winners>"
    high, low = (16, 4) if "good" in prompt.partition("<response>")[2] else (12, 8)
    lines = "\n".join([f"- {name}: {high}" for name in STRENGTHS] + [f"{name}: {low}" for name in WEAKNESSES])
    return f"Nice.\n<scores>\n{lines}\n</scores>"


def test_eq_bench_turns_weaknesses_round_and_rates_by_elo(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eq_bench_creative.json").write_text(json.dumps(STORIES), encoding="utf-8")
    writer = Player(lambda prompt: f"a good story on {prompt}")
    result = run(
        tmp_path / "out",
        tmp_path / "data",
        "eq_bench_creative",
        model=playing("m", writer),
        against=PLAIN,
        judge=playing("j", editor),
    )
    row = result["benchmarks"][0]
    figure = row["figures"]["score"]
    assert (figure["model"]["mean"], figure["base"]["mean"], figure["difference"]["n"]) == (80, 60, 6)
    assert row["summary"]["pairwise"]["mean"] == 100 and row["summary"]["elo"]["mean"] > 1500
    assert {r.messages[-1].content for r in writer.requests} == {
        f"Story {n}. {seed} Now." for n in (1, 2) for seed in ("Rain.", "Snow.", "Wind.")
    }


def test_eq_bench_compares_what_is_published_and_calls_the_same_text_a_draw(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "eq_bench_creative.json").write_text(json.dumps({"1": STORIES["1"]}), encoding="utf-8")
    judge = Player(editor)
    long, longer = ("x" * 3996 + end for end in ("tail", "tail and more"))
    result = run(
        tmp_path / "out",
        tmp_path / "data",
        "eq_bench_creative",
        model=playing("m", lambda prompt: longer if "Rain" in prompt else f"{'a good story ' * 400}{prompt}"),
        against=playing("b", lambda prompt: long),
        judge=playing("j", judge),
    )
    compared = [request.messages[-1].content for request in judge.requests if "<response_a>" in request.messages[-1].content]
    texts = [re.findall(r"<response_[ab]>\n(.*?)\n</response_[ab]>", prompt, re.DOTALL) for prompt in compared]
    assert len(compared) == 4 and all(len(text) <= 4000 for both in texts for text in both) and {len(t) for t in texts} == {2}
    assert {tuple(message.role for message in request.messages) for request in judge.requests} == {("user",)}
    assert {request.temperature for request in judge.requests} == {0.0}
    assert result["benchmarks"][0]["summary"]["pairwise"]["mean"] == pytest.approx(250 / 3)


def test_half_a_list_of_ratings_is_none() -> None:
    whole = "\n".join(f"{name}: 10" for name in (*STRENGTHS, *WEAKNESSES))
    assert hasattr(parse_ratings(f"<scores>{whole}</scores>"), "value")
    for broken in (whole.replace("Coherent: 10\n", ""), whole + "\nCoherent: 9", whole.replace("10", "21"), whole + "\nWit: 3"):
        assert not hasattr(parse_ratings(f"<scores>{broken}</scores>"), "value")
    margins = "\n".join(f"{aspect}: A+" for aspect in ASPECTS)
    assert getattr(parse_share(f"<winners>{margins}</winners>"), "value", None) == 1
    assert not hasattr(parse_share(f"<winners>{margins.replace('A+', 'tie', 1)}</winners>"), "value")


# --- where the items come from without local data: the hub's code on stand-ins on this machine -----------------------------


def test_math_500_reads_a_dataset_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"problem": "One?", "answer": "1", "unique_id": "a"}, {"problem": "Two?", "answer": "2", "unique_id": "b"}]
    asked: list[tuple[str, str]] = []

    def hf_dataset(path: str, *, split: str, sample_fields: Callable[[dict[str, Any]], Any]) -> list[Any]:
        asked.append((path, split))
        return [sample_fields(row) for row in rows]

    monkeypatch.setattr("pop_selfplay.evaluation.benchmarks.mathematics.hf_dataset", hf_dataset)
    choice = SuiteEntry(name="math_500", epochs=1)
    assert accuracy(run(tmp_path / "out", None, choice, model=playing("m", lambda prompt: "\\boxed{1}"))) == 0.5
    assert asked == [("HuggingFaceH4/MATH-500", "test")]


def test_arena_hard_reads_the_published_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(tmp_path / "arena-hard-v2.0", "question", ARENA)
    monkeypatch.setattr("pop_selfplay.evaluation.benchmarks.arena_hard._HUB", str(tmp_path / "{}" / "question.jsonl"))
    judge = playing("j", referee("A>B", "B>A"))
    result = run(tmp_path / "out", None, "arena_hard_v2", model=GOOD, against=PLAIN, judge=judge, limit=2)
    assert result["benchmarks"][0]["figures"]["win_rate"]["model"]["mean"] == 1.0


def test_eq_bench_fetches_its_prompts_once_and_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Reply:
        text = json.dumps(STORIES)

        def raise_for_status(self) -> "Reply":
            return self

    def get(url: str, **_: object) -> Reply:
        asked.append(url)
        return Reply()

    module = "pop_selfplay.evaluation.benchmarks.eq_bench"
    monkeypatch.setattr(f"{module}.httpx.get", get)
    monkeypatch.setattr(f"{module}.INSPECT_EVALS_CACHE_PATH", tmp_path / "cache")
    for number in range(2):
        result = run(tmp_path / f"out{number}", None, "eq_bench_creative", model=PLAIN, judge=playing("j", editor), limit=2)
        assert result["benchmarks"][0]["figures"]["score"]["model"]["mean"] == 60 and len(asked) == 1
    assert asked[0].endswith("creative_writing_prompts_v3.json")


def test_a_task_that_writes_into_its_rows_changes_nothing_for_the_next_model(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "healthbench", HEALTH)

    def evaluated(judge: Player) -> dict[str, Any]:
        model, base = playing("m", lambda prompt: "Take a rest."), playing("b", lambda prompt: "no")
        return run(tmp_path / "out", data, "healthbench", model=model, against=base, judge=playing("j", judge))

    first = evaluated(Player(physician))
    again = Player(physician)
    assert evaluated(again) == first and again.requests == []


def test_writingbench_ships_also_beside_other_local_data(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "data", "medqa", MEDQA)
    judge = playing("j", lambda prompt: '{"score": 7, "reason": "x"}')
    result = run(tmp_path / "out", data, "writingbench", model=playing("m", lambda p: "text"), judge=judge, limit=2)
    assert result["benchmarks"][0]["figures"]["score"]["model"]["n"] == 2
