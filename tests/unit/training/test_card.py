"""The model card: what it tells, and where it finds the licence of the starting model."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pop_selfplay.journal.directory import name_dataset
from pop_selfplay.training import Origin
from pop_selfplay.training.export import Facts, licence_of, render_card, write_card

FACTS = Facts(
    start="owner/base",
    method="DPO",
    data="1,234 preference pairs",
    settings={"type": "dpo", "dpo": {"beta": 0.1}},
    figures={"steps": 1200, "last loss": 0.61234567, "note": "a | b\nc"},
    origin=Origin("health_care", "m42-health/HC4", "run-7", 2),
)


def front_matter(card: str) -> Any:
    _, front, _ = card.split("---\n", 2)
    return yaml.safe_load(front)


def test_the_hub_finds_the_base_its_licence_and_the_library() -> None:
    front = front_matter(render_card(FACTS, {"license": "apache-2.0"}))
    assert front == {
        "license": "apache-2.0",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "owner/base",
        "tags": ["pop-selfplay", "dpo"],
    }


def test_people_find_data_origin_figures_versions_and_settings() -> None:
    card = render_card(FACTS, {})
    for line in (
        "DPO on 1,234 preference pairs",
        "| domain | health_care |",
        "| corpus | m42-health/HC4 |",
        "| run | run-7 |",
        "| round | 2 |",
        "| steps | 1,200 |",
        "| last loss | 0.6123 |",
        "| note | a \\| b c |",
        "| licence of the starting model | unknown: look it up before you share this model |",
        "beta: 0.1",
    ):
        assert line in card, line
    assert "| trl | " in card and "not installed" not in card


def test_a_model_trained_after_an_export_was_uploaded_names_it_as_one_trained_before_does() -> None:
    origin = Origin("health_care", "owner/texts", "run-7", 1, "owner/texts")
    before = name_dataset(render_card(FACTS._replace(origin=origin), {}), "me/pairs")
    assert before == render_card(FACTS._replace(origin=origin._replace(pairs="me/pairs")), {})
    assert front_matter(before)["datasets"] == ["owner/texts", "me/pairs"]
    assert "| pairs | https://huggingface.co/datasets/me/pairs |" in before


def start_with(folder: Path, card: str) -> str:
    (folder / "README.md").write_text(card, encoding="utf-8")
    return str(folder)


def test_the_licence_is_what_the_start_s_own_card_says(tmp_path: Path) -> None:
    card = "---\nlicense: other\nlicense_name: qwen\nlicense_link: https://x.y/LICENSE\nlanguage: en\n---\n# Base\n"
    licence = {"license": "other", "license_name": "qwen", "license_link": "https://x.y/LICENSE"}
    assert licence_of(start_with(tmp_path, card)) == licence


@pytest.mark.parametrize(
    "card", ["", "# no front matter", "---\n: [\n---\n", "---\njust text\n---\n", "---\nlanguage: en\n---\n"]
)
def test_a_card_that_says_nothing_gives_no_licence(tmp_path: Path, card: str) -> None:
    assert licence_of(start_with(tmp_path, card)) == {}


def test_a_start_that_cannot_be_asked_gives_no_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert licence_of(str(tmp_path)) == {}
    assert licence_of("nobody/has-this-model") == {}


def test_a_licence_is_handed_on_from_round_to_round(tmp_path: Path) -> None:
    base, first, second = (tmp_path / name for name in ("base", "round-1", "round-2"))
    for folder in (base, first, second):
        folder.mkdir()
    start_with(base, "---\nlicense: apache-2.0\n---\n")
    write_card(first, FACTS._replace(start=str(base)))
    write_card(second, FACTS._replace(start=str(first)))
    assert licence_of(str(second)) == {"license": "apache-2.0"}
    front = front_matter((second / "README.md").read_text(encoding="utf-8"))
    assert "base_model" not in front, "a directory of this machine means nothing on the hub"
    assert str(tmp_path) not in (second / "README.md").read_text(encoding="utf-8").split("```yaml")[0]
