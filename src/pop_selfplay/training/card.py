"""The model card: README.md of every model that is trained here, for people and for the hub.

It says where the model comes from, on what and how it was trained, what came out, and under which licence the starting model
is. A new fact goes into `Facts` and gets a line in `render_card`.
"""

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from pop_selfplay.config import HuggingFaceCorpus
from pop_selfplay.session import Session

CARD: Final = "README.md"
_LIBRARIES: Final = ("pop-selfplay", "torch", "transformers", "trl", "peft", "accelerate")
_FRONT_MATTER: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_LICENCE_KEYS: Final = ("license", "license_name", "license_link")


class Origin(NamedTuple):
    """The run that a training belongs to: its domain, its corpus in words, its id and the round."""

    domain: str
    corpus: str
    run: str
    round: int


def origin_of(session: Session, round_: int) -> Origin:
    """Return what a model trained in `round_` of this run comes from. No path of this machine is in it."""
    corpus = session.config.corpus
    name = corpus.path if isinstance(corpus, HuggingFaceCorpus) else corpus.type
    return Origin(session.domain.name, name, session.journal.run_id, round_)


class Facts(NamedTuple):
    """What a card tells. `settings` is the training's config as plain data, `figures` what came out, by name."""

    start: str
    method: str
    data: str
    settings: Mapping[str, Any]
    figures: Mapping[str, Any]
    origin: Origin | None = None


def write_card(directory: Path, facts: Facts, hub: Mapping[str, Any] | None = None) -> None:
    """Write README.md of the model in `directory`. `hub` may hold the `revision` under which the start was loaded."""
    card = render_card(facts, licence_of(facts.start, (hub or {}).get("revision")))
    (directory / CARD).write_text(card, encoding="utf-8")


def render_card(facts: Facts, licence: Mapping[str, str]) -> str:
    """Return the card as Markdown with the front matter that the hub reads. `licence` holds the keys found, maybe none."""
    on_hub = not Path(facts.start).is_dir()
    front: dict[str, Any] = {
        **licence,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": facts.start} if on_hub else {}),
        "tags": ["pop-selfplay", facts.method.lower()],
    }
    name = facts.start if on_hub else Path(facts.start).name
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
        f"# {name}, trained by rubric-based self-play",
        f"Trained with [pop](https://arxiv.org/abs/2604.20051) from `{name}`: {facts.method} on {facts.data}. The model made "
        "this data itself from raw text; no people and no stronger model wrote any of it, unless the run names a teacher.",
        _table(
            "Origin", {"starting model": name, "licence of the starting model": _licence_text(licence)} | _origin(facts.origin)
        ),
        _table("Result", facts.figures),
        _table("Versions", {library: _version(library) for library in _LIBRARIES}),
        f"## Training\n\n```yaml\n{yaml.safe_dump(dict(facts.settings), sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(parts) + "\n"


def licence_of(start: str, revision: str | None = None) -> dict[str, str]:
    """Return what the starting model's own card says about its licence, {} where it has no card or its card says nothing.

    A hub name is looked up on the hub, or in its cache when that cannot be reached.
    """
    try:
        path = Path(start) / CARD if Path(start).is_dir() else Path(hf_hub_download(start, CARD, revision=revision))
        match = _FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        front = yaml.safe_load(match[1]) if match else {}
    except (OSError, ValueError, HfHubHTTPError, yaml.YAMLError):
        return {}  # not a reason to lose a trained model: the card then says that it is unknown
    return {key: str(front[key]) for key in _LICENCE_KEYS if key in front} if isinstance(front, dict) else {}


def _licence_text(licence: Mapping[str, str]) -> str:
    return " ".join(licence.values()) or "unknown: look it up before you share this model"


def _origin(origin: Origin | None) -> dict[str, Any]:
    if origin is None:
        return {}
    return {"domain": origin.domain, "corpus": origin.corpus, "run": origin.run, "round": origin.round}


def _table(title: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}", "", "| | |", "| --- | --- |", *lines])


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("|", "\\|")


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
