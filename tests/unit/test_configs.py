"""Every file in configs/ is complete, and becomes the run that its name says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pop_selfplay.config import (
    DocumentFilter,
    DPOTraining,
    EndpointModel,
    HuggingFaceCorpus,
    Pairing,
    RunConfig,
    SelfJudgedMeasure,
    Synthesis,
    load_config,
)
from pop_selfplay.domains import load_domain
from pop_selfplay.pocket.quickstart import quickstart_config

CONFIGS = Path(__file__).parents[2] / "configs"
HEALTH_CARE = HuggingFaceCorpus(path="m42-health/HC4")
BOOKS = HuggingFaceCorpus(path="Skelebor/book_titles_and_descriptions", text_field="description")
WEB = HuggingFaceCorpus(path="Skylion007/openwebtext")


def paper_run(domain: str, corpus: HuggingFaceCorpus, documents: int, model: str) -> RunConfig:
    """The paper's run: all defaults but what tells one run from another."""
    return RunConfig(
        domain=domain,
        corpus=corpus,
        model=EndpointModel(base_url="http://localhost:8000/v1", model=model, weights=model),
        synthesis=Synthesis(documents=documents),
    )


EXPECTED = {
    f"{prefix}_{domain}": paper_run(domain, corpus, documents, model)
    for prefix, model in {
        "qwen2.5-7b": "Qwen/Qwen2.5-7B",
        "qwen2.5-7b-instruct": "Qwen/Qwen2.5-7B-Instruct",
    }.items()
    for domain, corpus, documents in [
        ("health_care", HEALTH_CARE, 4096),
        ("creative_writing", BOOKS, 8192),
        ("instruction_following", WEB, 4096),
    ]
}
FILES = sorted(CONFIGS.glob("*.yaml"))


def missing_keys(written: Any, resolved: Any, path: str = "") -> list[str]:
    """Return the settings that exist in `resolved` and are not written out."""
    if not isinstance(resolved, dict) or path in (".training.dpo", ".teachers"):
        return []
    assert isinstance(written, dict), path
    return [
        where
        for key, value in resolved.items()
        for where in ([f"{path}.{key}"] if key not in written else missing_keys(written[key], value, f"{path}.{key}"))
    ]


@pytest.mark.parametrize("file", [file for file in FILES if file.stem != "laptop"], ids=lambda file: file.stem)
def test_a_config_file_becomes_what_its_name_says(file: Path) -> None:
    config = load_config(file)
    if file.stem == "pocket":
        assert config == quickstart_config()
    else:
        assert config == EXPECTED[file.stem]
    assert load_domain(config.domain).name == config.domain
    assert missing_keys(yaml.safe_load(file.read_text(encoding="utf-8")), config.model_dump(mode="json")) == []


def test_the_paper_s_three_runs_are_there_for_both_models() -> None:
    assert {file.stem for file in FILES} == {*EXPECTED, "pocket", "laptop"}


def test_the_laptop_s_run_is_small_decodes_by_forms_and_trains_few_weights() -> None:
    config = load_config(CONFIGS / "laptop.yaml")
    assert config.synthesis.constrain == "auto" and config.synthesis.documents * config.synthesis.candidates < 200
    assert isinstance(config.training, DPOTraining) and config.training.lora is not None


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_paper_s_runs_have_the_paper_s_values(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    assert config.synthesis.candidates == 32
    assert config.pairing == Pairing(min_std=0.001, max_word_difference=100)
    assert config.filter == DocumentFilter(min_words=50, max_words=1024)
    assert (config.seed, config.rounds) == (42, 1)
    assert isinstance(config.measure, SelfJudgedMeasure)
    assert f"configs/{name}.yaml" in (CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"), "its comment names the file"
