"""The dataset card of an export, in the form that the Hugging Face hub reads.

It counts while rows are written: documents, their licences and where they come from, scores. Whatever a document says of
itself is data: it is put on one line and cannot end a table cell. A new fact is a field of `Counted` and a line in `render`.
"""

import datetime
import importlib.metadata
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from pop_selfplay.config import HuggingFaceCorpus, RunConfig
from pop_selfplay.extras import DISTRIBUTION
from pop_selfplay.records import Role

_SPDX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,40}")
_SHOWN: Final = 20
_SIZES: Final = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass
class Counted:
    """What is counted over the rows of an export; scores are those of pairs."""

    rows: int = 0
    documents: set[str] = field(default_factory=set)
    licences: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    chosen: float = 0.0
    rejected: float = 0.0

    def note(self, document: str, said: Mapping[str, str], scores: tuple[float, float] = (0.0, 0.0)) -> None:
        """Count a row: its document's id, what that says of its provenance, and the scores of chosen and rejected."""
        self.rows += 1
        self.chosen, self.rejected = self.chosen + scores[0], self.rejected + scores[1]
        if document not in self.documents:
            self.documents.add(document)
            self.licences[said.get("license") or "not said"] += 1
            self.sources[said.get("source") or _host(said.get("url", "")) or "not said"] += 1


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def render(run: str, config: RunConfig, format: str, counted: Counted, file: str) -> str:
    """Return the card of an export of `run` to `file` as Markdown with the front matter that the hub reads."""
    domain = Path(config.domain).name
    corpus = config.corpus.path if isinstance(config.corpus, HuggingFaceCorpus) else f"{config.corpus.type}, not published here"
    front = {
        **_licence(counted.licences),
        "pretty_name": f"{domain} by rubric-based self-play",
        "size_categories": [next((name for most, name in _SIZES if counted.rows < most), "n>1M")],
        "task_categories": ["text-generation"],
        "tags": ["pop-selfplay", "synthetic", format],
        "configs": [{"config_name": "default", "data_files": file}],
    }
    facts = {
        "rows": f"{counted.rows:,} ({format})",
        "documents": f"{len(counted.documents):,}, from {corpus}",
        "domain": domain,
        "models": ", ".join(sorted({_model_name(config.player(role)) for role in Role})),
        "scoring": f"{config.synthesis.scoring}, {config.synthesis.candidates} candidates",
        "run": run,
        **({"model trained on it": f"https://huggingface.co/{model}"} if (model := config.training.repository) else {}),
        "made": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, with pop-selfplay {importlib.metadata.version(DISTRIBUTION)}",
    }
    if counted.rows and counted.chosen != counted.rejected:
        means = (total / counted.rows for total in (counted.chosen, counted.rejected))
        facts["mean score of chosen and rejected"] = ", ".join(f"{mean:.3f}" for mean in means)
    kind = "parquet" if file.endswith(".parquet") else "json"
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {_cell(str(front['pretty_name']))}",
        _ABOUT,
        _table("Facts", facts.items()),
        _table("Licences of the documents", _most(counted.licences)),
        _table("Sources of the documents", _most(counted.sources)),
        f"## Use\n\n```python\nimport datasets\n\nrows = datasets.load_dataset({kind!r}, data_files={file!r})\n```",
    ]
    return "\n\n".join(parts) + "\n"


_ABOUT: Final = (
    "Made with [pop](https://arxiv.org/abs/2604.20051): models wrote the problems, the answers and the scores from raw "
    "documents. No person checked them. They may repeat passages of the documents, whose licences hold for them."
)


def _most(counts: Counter[str]) -> Iterator[tuple[str, str]]:
    yield from ((name, f"{count:,}") for name, count in counts.most_common(_SHOWN))


def _licence(licences: Counter[str]) -> dict[str, str]:
    """Return the front matter's licence: the documents' where all have the same, none where one says nothing."""
    if len(licences) != 1:
        return {} if "not said" in licences or not licences else {"license": "other", "license_name": "several"}
    (name,) = licences
    if name == "not said":
        return {}
    return {"license": name.lower()} if _SPDX.fullmatch(name) else {"license": "other", "license_name": _cell(name)[:100]}


def _model_name(model: Any) -> str:
    """Return the name of a model without the path of this machine."""
    name = str(getattr(model, "model", None) or getattr(model, "path", None) or model.type)
    return Path(name).name if name.startswith((".", "/", "~")) else name


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join([f"## {title}", "", "| | |", "| --- | --- |", *lines])


def _cell(text: str) -> str:
    """Return foreign text for a table's cell: on one line, without what Markdown or HTML would take for its own."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    for character, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("[", "\\["), ("`", "\\`")):
        plain = plain.replace(character, written)
    return plain
