"""What was trained as a model directory: weights, LoRA merged or not, tokenizer, model card; and its upload to the hub.

Weights are written in the precision asked for. Every process of a training calls `save_weights`, because the shards of all
are gathered; only the first one writes. `finish` merges LoRA matrices (PEFT) into the starting model and adds the rest.

The model card, README.md, says where the model comes from, on what and how it was trained, what came out, and under which
licence the starting model is. A new fact goes into `Facts` and gets a line in `render_card`. The upload was never run against
the real hub, only against a stand-in of its API.
"""

import importlib.metadata
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import torch
import yaml
from huggingface_hub import HfApi, hf_hub_download
from peft import LoraConfig, PeftModel
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM

from pop_selfplay.config import LoRA
from pop_selfplay.errors import TrainingError
from pop_selfplay.extras import hub_errors
from pop_selfplay.journal.directory import FRONT_MATTER, PAIRS, pairs_place
from pop_selfplay.training import Origin
from pop_selfplay.training.checkpoints import MERGED
from pop_selfplay.training.loading import load_model_config

CARD: Final = "README.md"
_LIBRARIES: Final = ("pop-selfplay", "torch", "transformers", "trl", "peft", "accelerate")
_LICENCE_KEYS: Final = ("license", "license_name", "license_link")


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
    datasets = [name for name in (facts.origin.dataset, facts.origin.pairs) if name] if facts.origin else []
    front: dict[str, object] = {
        **licence,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": facts.start} if on_hub else {}),
        **({"datasets": datasets} if datasets else {}),
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
    unreadable: tuple[type[Exception], ...] = (*hub_errors(), ValueError, yaml.YAMLError)
    try:
        path = Path(start) / CARD if Path(start).is_dir() else Path(hf_hub_download(start, CARD, revision=revision))
        match = FRONT_MATTER.match(path.read_text(encoding="utf-8"))
        front = yaml.safe_load(match[1]) if match else {}
    except unreadable:
        return {}  # not a reason to lose a trained model: the card then says that it is unknown
    return {key: str(front[key]) for key in _LICENCE_KEYS if key in front} if isinstance(front, dict) else {}


def _licence_text(licence: Mapping[str, str]) -> str:
    return " ".join(licence.values()) or "unknown: look it up before you share this model"


def _origin(origin: Origin | None) -> dict[str, object]:
    if origin is None:
        return {}
    return {
        "domain": origin.domain,
        "corpus": origin.corpus,
        "licences of the documents": origin.licences or "not said",
        "run": origin.run,
        "round": origin.round,
        PAIRS: pairs_place(origin.pairs),
    }


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


_LOG: Final = logging.getLogger(__name__)


class Hub(Protocol):
    """The part of `huggingface_hub.HfApi` that is used."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository, or take the one that is there as it is."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        """Upload every file of a folder as one commit."""


def push(model: Path, repository: str, hub: Hub | None = None) -> bool:
    """Upload the model directory as one commit to `repository` (owner/name), made private when it is new.

    Returns whether it is there. A hub that cannot be reached, or that refuses, is no reason to lose a finished model: a warning
    says so, with the command that does it by hand. `hub` stands in for the real one in tests.
    """
    hub = hub or HfApi()
    try:
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=model, commit_message=f"Upload {model.name}, trained with pop")
    except hub_errors() as error:
        _LOG.warning(
            "%s is finished, but could not be uploaded to %s: %s. Do it by hand: hf upload %s %s", model, repository, error,
            repository, model,
        )  # fmt: skip
        return False
    return True


LEARNING_RATE: Final = 1e-5
"""In place of that of all weights: the matrices want about ten times the rate."""

ADAPTER: Final = "adapter"
"""Folder of a merged model that holds its LoRA matrices by themselves, where they were to be kept."""


def peft_config(lora: LoRA | None) -> LoraConfig | None:
    """Return `training.lora` as PEFT wants it, None where all weights are trained."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        use_rslora=lora.rslora,
        task_type="CAUSAL_LM",
    )


def merge_adapter(start: str, adapter: Path, directory: Path, dtype: Any, hub: Mapping[str, Any], *, keep: bool) -> None:
    """Add the LoRA matrices in `adapter` to the weights of the starting model and write the sum to `directory`.

    The starting model is loaded whole, on the CPU, as `dtype` (None: as stored), also where training held it in 4 bits. With
    `keep`, the matrices are copied beside the model, into its folder `ADAPTER`. Raises TrainingError when the sum is no number.

    Sums are made in 32 bits and rounded by chance (`rounded`): to the nearest, most of a small change would be lost.
    """
    base = AutoModelForCausalLM.from_pretrained(start, dtype=dtype or "auto", **hub)
    merging = PeftModel.from_pretrained(base, adapter)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, layer in merging.named_modules():
            if isinstance(layer, LoraLayer):
                weight = layer.get_base_layer().weight
                total = weight.float() + layer.get_delta_weight(merging.active_adapter).float()
                if not torch.isfinite(total).all():
                    raise TrainingError(f"the LoRA matrices cannot be merged into {start!r}: the sum for {name} is no number")
                weight.copy_(rounded(total, weight.dtype, chance))
    shutil.rmtree(directory, ignore_errors=True)
    merging.unload().save_pretrained(directory)
    if keep:
        shutil.copytree(adapter, directory / ADAPTER)


def rounded(weight: torch.Tensor, dtype: torch.dtype, chance: torch.Generator) -> torch.Tensor:
    """Return float32 `weight` as `dtype`; as bf16 rounded up or down by `chance`, so that it is right on average.

    A weight of a bf16 model stands on bf16's grid. What training adds is mostly smaller than half a step of it, and rounding to
    the nearest would always take it back (benchmarks/lora_merge.py).
    """
    if dtype != torch.bfloat16:
        return weight.to(dtype)
    bits = weight.contiguous().view(torch.int32)
    below = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, generator=chance)
    return ((bits + below) & ~0xFFFF).view(torch.float32).bfloat16()


def save_weights(trainer: Any, directory: Path, dtype: Any, advice: str) -> None:
    """Write the trained weights to `directory`: all of them as `dtype`, or the LoRA matrices alone in their own precision.

    Raises TrainingError, with the `advice`, when a weight is no number.
    """
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model_wrapped)
    if not accelerator.is_main_process:
        return
    model = accelerator.unwrap_model(trainer.model)
    adapter = isinstance(model, PeftModel)
    if adapter:
        state = {name: weight for name, weight in state.items() if "lora_" in name}
    else:  # copies of one weight under two names would be stored twice
        state = {name: weight for name, weight in state.items() if name not in model.all_tied_weights_keys}
    broken = [name for name, weight in state.items() if weight.is_floating_point() and not torch.isfinite(weight).all()]
    if broken:
        raise TrainingError(f"{len(broken)} weights are not numbers after training ({broken[0]}, …): {advice}")
    if not adapter and dtype is not None:
        state = {name: weight.to("cpu", dtype) if weight.is_floating_point() else weight for name, weight in state.items()}
    model.save_pretrained(directory, state_dict=state)
    if not adapter and dtype is not None:
        _set_dtype(directory / "config.json", dtype)


def finish(weights: Path, lora: LoRA | None, tokenizer: Any, hub: Mapping[str, Any], facts: Facts) -> Path:
    """Make a whole model directory of the trained `weights` and return it: their own, or one beside it for merged ones."""
    finished = weights
    if lora is not None and lora.merge:
        finished = weights.with_name(MERGED)
        merge_adapter(facts.start, weights, finished, load_model_config(facts.start, hub).dtype, hub, keep=lora.keep_adapter)
    tokenizer.save_pretrained(finished)
    write_card(finished, facts, hub)
    return finished


def _set_dtype(config: Path, dtype: torch.dtype) -> None:
    """Let config.json name the precision that was written; transformers writes the one that was trained in."""
    data = json.loads(config.read_text(encoding="utf-8"))
    data["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
