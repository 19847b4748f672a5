"""Where a document comes from, and its licence, go with it into pairs, exports and the dataset card, which can be uploaded."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from tests.integration.runs import simulated_config

import pop_selfplay as pop
from pop_selfplay.errors import UsageError
from pop_selfplay.exports import link_models, push
from pop_selfplay.exports.card import Counted, render
from pop_selfplay.journal import RunDirectory
from pop_selfplay.journal.directory import name_dataset
from pop_selfplay.journal.pairs import read_pairs

WORDS = "river stone house tree water light cold warm".split()
CARD = {"license": "cc-by-4.0", "url": "https://plants.example/a?b=1", "source": "A | B <script>"}


def texts(count: int, **said: str) -> list[dict[str, str]]:
    return [{"text": " ".join(f"{WORDS[n * k % 8]}{n * k % 89}" for k in range(1, 120)), **said} for n in range(1, count + 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run on documents that say where they come from."""
    place = tmp_path_factory.mktemp("provenance")
    rows = "\n".join(json.dumps(row) for row in texts(12, **CARD))
    (place / "rows.jsonl").write_text(rows, encoding="utf-8")
    config = simulated_config(place / "rows.jsonl", documents=12, candidates=6)
    pop.run(config, place / "run")
    return place / "run"


def front_of(card: str) -> Any:
    return yaml.safe_load(card.split("---\n")[1])


@pytest.mark.parametrize(("name", "place"), [("trl", ""), ("grpo", ""), ("verl", "extra_info"), ("verifiers", "info")])
def test_every_row_says_where_its_document_comes_from(run: Path, tmp_path: Path, name: str, place: str) -> None:
    pop.export(run, tmp_path / "out.jsonl", name)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    inner = [row[place] if place else row for row in rows]
    found = [json.loads(part) if isinstance(part, str) else part for part in inner]
    assert [{field: part[field] for field in CARD} for part in found] == [CARD] * len(rows) and rows


def test_the_runs_own_pairs_say_it_and_a_file_from_before_there_was_provenance_is_still_read(run: Path, tmp_path: Path) -> None:
    table = pq.read_table(run / "pairs.parquet")
    assert set(table["license"].to_pylist()) == {"cc-by-4.0"}
    old = tmp_path / "old.parquet"
    pq.write_table(table.drop_columns(["license", "url", "source"]), old)
    (pair, *_) = read_pairs(old)
    assert (pair.license, pair.url, pair.source) == ("", "", "")


def test_the_card_beside_an_export_counts_rows_documents_licences_and_sources(run: Path, tmp_path: Path) -> None:
    rows = pop.export(run, tmp_path / "pairs.parquet")
    card = (tmp_path / "pairs.card.md").read_text(encoding="utf-8")
    front = front_of(card)
    assert front["license"] == "cc-by-4.0" and front["size_categories"] == ["n<1K"]
    assert front["configs"] == [{"config_name": "default", "data_files": "pairs.parquet"}]
    assert f"| rows | {rows} (trl) |" in card and "| models | simulated |" in card and "mean score of chosen" in card
    documents = len(set(pq.read_table(tmp_path / "pairs.parquet")["document_id"].to_pylist()))
    assert f"| cc-by-4.0 | {documents} |" in card
    assert f"| A \\| B &lt;script> | {documents} |" in card, "what a document says of itself cannot leave its cell"
    assert str(tmp_path) not in card


def counted(licences: dict[str, int]) -> Counted:
    return Counted(rows=5, documents={"d"}, licences=Counter(licences))


@pytest.mark.parametrize(
    ("licences", "said"),
    [
        ({"MIT": 3}, {"license": "mit"}),
        ({"not said": 3}, {}),
        ({"MIT": 3, "not said": 1}, {}),
        ({"MIT": 3, "CC0-1.0": 1}, {"license": "other", "license_name": "several"}),
        ({"All rights reserved": 1}, {"license": "other", "license_name": "All rights reserved"}),
    ],
)
def test_a_licence_is_claimed_only_where_every_document_has_it(
    licences: dict[str, int], said: dict[str, str], tmp_path: Path
) -> None:
    front = front_of(render("run", simulated_config(tmp_path), "trl", counted(licences), "a.parquet"))
    assert {key: value for key, value in front.items() if key.startswith("license")} == said


class StandIn:
    """Takes uploads in place of the hub."""

    def __init__(self) -> None:
        self.made: list[tuple[str, str, bool]] = []
        self.files: dict[str, bytes] = {}
        self.cards: dict[str, str] = {}

    def create_repo(self, repo_id: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.made.append((repo_id, repo_type, private))

    def upload_folder(self, *, repo_id: str, repo_type: str, folder_path: Path, commit_message: str) -> None:
        assert (repo_id, repo_type) == self.made[0][:2] and commit_message
        self.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}

    def upload_file(self, *, path_or_fileobj: Path, path_in_repo: str, repo_id: str, commit_message: str) -> None:
        if repo_id == "not a name":
            raise OSError("no such repository")
        assert path_in_repo == "README.md" and commit_message
        self.cards[repo_id] = path_or_fileobj.read_text(encoding="utf-8")


def test_an_export_is_uploaded_with_its_card_as_one_private_dataset(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n", encoding="utf-8")
    hub = StandIn()
    push(tmp_path / "pairs.jsonl", "the card", "me/pairs", hub)
    assert hub.made == [("me/pairs", "dataset", True)]
    assert hub.files == {"pairs.jsonl": b"{}\n", "README.md": b"the card"}
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_hub_that_refuses_leaves_the_files_and_says_what_to_do(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"could not be uploaded to not a name: .*; check the name"):
        pop.export(run, tmp_path / "pairs.jsonl", push_to_hub="not a name")
    assert (tmp_path / "pairs.jsonl").is_file() and (tmp_path / "pairs.card.md").is_file()


PAIRS = "https://huggingface.co/datasets/me/pairs"
MODEL_CARD = """---
datasets:
- owner/texts
tags:
- dpo
---

# A model

| domain | health_care |
| pairs | `pop export`, with a card of their own |
"""


def trained(folder: Path, repository: str | None) -> RunDirectory:
    """Return the directory of a run with a trained model of which only the card is there."""
    training = {"type": "dpo", "push_to_hub": repository}
    model = {"type": "local", "path": "owner/base"}
    config = simulated_config(folder).changed({"training": training, "model": model})
    directory = RunDirectory.create(folder / "run", config)
    directory.model_path(1).mkdir(parents=True)
    (directory.model_path(1) / "README.md").write_text(MODEL_CARD, encoding="utf-8")
    return directory


def test_an_uploaded_dataset_and_the_models_trained_on_it_name_each_other(tmp_path: Path) -> None:
    run, hub = trained(tmp_path, "me/model"), StandIn()
    assert "| model trained on it | https://huggingface.co/me/model |" in render(
        "run", run.config, "trl", counted({}), "pairs.jsonl"
    )
    assert run.uploaded == ""
    link_models(run, "me/pairs", hub)
    card = (run.model_path(1) / "README.md").read_text(encoding="utf-8")
    assert front_of(card)["datasets"] == ["owner/texts", "me/pairs"] and f"| pairs | {PAIRS} |" in card
    assert hub.cards == {"me/model": card}
    assert run.uploaded == "me/pairs", "for the cards of models that are trained later"


def test_models_that_stay_here_name_the_dataset_too_and_a_card_in_other_words_is_left_alone(tmp_path: Path) -> None:
    run, hub = trained(tmp_path, None), StandIn()
    assert "model trained on it" not in render("run", run.config, "trl", counted({}), "pairs.jsonl")
    link_models(run, "me/pairs", hub)
    link_models(run, "me/pairs", hub)
    card = (run.model_path(1) / "README.md").read_text(encoding="utf-8")
    assert card.count("me/pairs") == 2 and hub.cards == {}
    assert name_dataset("my own words", "me/pairs") == "my own words"


def test_a_models_card_that_cannot_be_replaced_is_said_after_the_dataset_is_there(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"me/pairs is uploaded, but the card of not a name could not be .*hf upload not a name"
    ):
        link_models(trained(tmp_path, "not a name"), "me/pairs", StandIn())
