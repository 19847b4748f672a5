"""The example domain of docs/domains.md can be copied as it is: it loads, and every way to run it ends in pairs."""

import re
from pathlib import Path
from typing import Any

import pytest

import pop_selfplay as pop
from pop_selfplay.domains import load_domain, prompt_files
from pop_selfplay.judging.rating import ONE_CRITERION

ROOT = Path(__file__).parents[3]
PLACES = {name: file.places for name, file in prompt_files().items()}
FOLDER = "examples/recipes_domain"
TEXTS = {
    "beans": "Soak dried beans for a night in three times their volume of water. Salt the water: the skins stay whole.",
    "custard": "A custard sets at 82 degrees and curdles soon above. A spoon of starch for each yolk keeps it smooth.",
    "bread": "Dough for a crusty loaf takes 75 parts of water to 100 of flour, and rises twice in length in five hours.",
}


@pytest.fixture(autouse=True)
def standing_in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path in a config is relative to where the user stands."""
    monkeypatch.chdir(ROOT)


def test_it_holds_every_prompt_and_uses_its_value() -> None:
    domain = load_domain(FOLDER)
    assert domain.name == "recipes_domain"
    assert set(domain.prompts) == set(PLACES)
    assert "at most 250 words" in domain.render("solve", problem="My sauce is too thin.")[0].content


@pytest.mark.parametrize("prompt", [prompt for prompt in PLACES if prompt != "solve"])
def test_every_place_stands_between_tags_of_its_name(prompt: str) -> None:
    user = load_domain(FOLDER).prompts[prompt].user
    places = set(re.findall(r"\{\{(\w+)\}\}", user))
    assert places == PLACES[prompt] - {
        "propose": {"title"},
        "rate_logprob": ONE_CRITERION,
        "rate_criterion": {"weighted_criterion"},
    }.get(prompt, set())
    assert all(f"<{place}>\n{{{{{place}}}}}\n</{place}>" in user for place in places)


@pytest.mark.parametrize(
    "synthesis",
    [{}, {"scoring": "per_criterion"}, {"scoring": "logprob"}, {"document_for": ["proposer"]}, {"document_for": []}],
    ids=["default", "per_criterion", "logprob", "rubric without document", "no document"],
)
def test_a_run_with_it_plays_episodes_to_scored_candidates(synthesis: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "texts" / f"{name}.txt").write_text(text, encoding="utf-8")
    config = pop.parse_config(
        {
            "domain": FOLDER,
            "corpus": {"type": "files", "paths": [str(tmp_path / "texts")]},
            "model": {"type": "simulated"},
            "filter": {"min_words": 5},
            "synthesis": {"documents": 3, "candidates": 4, **synthesis},
            "training": {"type": "none"},
            "measure": {"type": "none"},
        }
    )
    result = pop.run(config, tmp_path / "run")
    round_ = result.rounds[0]
    assert result.domain == "recipes_domain"
    assert (round_.documents, round_.problems, round_.rubrics, round_.evaluations) == (3, 3, 3, 12)
    assert round_.pairs + sum(round_.dropped.values()) == 3
