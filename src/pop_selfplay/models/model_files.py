"""What a directory of weights is, and whether the tokenizer in it belongs to them: for the local model and for training alike.

What else has to be known of a model before it is used goes here.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from pop_selfplay.errors import ModelRefused, RequestRefused
from pop_selfplay.models.chat_template import render_end, render_prompt
from pop_selfplay.records import Message

_ADAPTER_CONFIG: Final = "adapter_config.json"
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")
_PROBE: Final = (Message(role="user", content="?"),)


class Adapter(NamedTuple):
    """LoRA matrices in `path` for the weights at `base`, a directory or hub name. `tokenizer` is where to load that from."""

    path: str
    base: str
    tokenizer: str


def expanded(path: str) -> str:
    """Return a directory or hub name with a leading ~ written out, which no library does."""
    return str(Path(path).expanduser()) if path.startswith("~") else path


def find_adapter(path: str) -> Adapter | None:
    """Return the adapter in the directory `path`, None where that holds whole weights or is a hub name.

    A relative base is looked for beside the adapter first, then from the working directory, as PEFT wrote it. Raises
    ModelRefused when the adapter names no base, or a directory that is not there.
    """
    folder = Path(path)
    if not (folder / _ADAPTER_CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    try:
        named = json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelRefused(f"{folder / _ADAPTER_CONFIG} cannot be read: {error}") from error
    base = _base_of(folder, named)
    return Adapter(path, base, path if any((folder / name).is_file() for name in _TOKENIZERS) else base)


def _base_of(folder: Path, named: object) -> str:
    if not isinstance(named, str) or not named.strip():
        raise ModelRefused(
            f"the LoRA adapter {str(folder)!r} names no base model: write base_model_name_or_path into its {_ADAPTER_CONFIG}"
        )
    given = Path(named).expanduser()
    places = [given] if given.is_absolute() else [folder / given, given]
    for place in places:
        if place.is_dir():
            return str(place.resolve())
    if _may_be_of_the_hub(named):
        return named
    sought = " nor ".join(repr(str(place.resolve())) for place in places)
    raise ModelRefused(
        f"the LoRA adapter {str(folder)!r} was trained on {named!r}, which is neither a hub name nor the directory {sought}: "
        f"correct base_model_name_or_path in its {_ADAPTER_CONFIG}"
    )


def _may_be_of_the_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and name.count("/") <= 1


def refuse_adapter(path: str) -> None:
    """Raise ModelRefused where `path` holds LoRA matrices alone: training starts from whole weights."""
    adapter = find_adapter(path)
    if adapter is not None:
        raise ModelRefused(
            f"{path!r} is a LoRA adapter of {adapter.base!r}, but training starts from whole weights: merge the two "
            "(PEFT's merge_and_unload, then save_pretrained) and name that directory, or train its base"
        )


# --- the tokenizer and the embedding ----------------------------------------------------------------------------------


def check_vocabulary(tokenizer: Any, rows: int, name: str) -> None:
    """Check that a model with `rows` embeddings can read what its `tokenizer` writes; `name` stands for it in messages.

    Added tokens beyond the embedding are let pass as long as nothing uses them: published models have such ones for pictures.
    Raises ModelRefused for a vocabulary that is too large, and for a chat template, an end or a padding that uses such a token.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    beyond = sorted((id, token) for token, id in tokenizer.get_vocab().items() if id >= rows)
    plain = [found for found in beyond if found[0] not in added]
    if plain:
        raise ModelRefused(
            f"the tokenizer of {name!r} has {len(plain)} tokens beyond the model's embedding of {rows} rows, "
            f"{_named(*plain[0])} the first: it belongs to another model. Put the model's own tokenizer beside its weights"
        )
    used = {*_probe(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id}
    for id, token in beyond:
        if id in used:
            raise ModelRefused(
                f"{name!r} uses {_named(id, token)} in its chat template, as its end or for padding, and the model's embedding "
                f"has {rows} rows: {_RESIZE}"
            )


def check_ids(ids: list[int], rows: int) -> None:
    """Raise RequestRefused where a text of these token `ids` is none that a model with `rows` embeddings can read."""
    if ids and max(ids) >= rows:
        raise RequestRefused(f"the text holds token {max(ids)}, and the model's embedding has {rows} rows: {_RESIZE}")


_RESIZE: Final = (
    "save the model after resize_token_embeddings(len(tokenizer)), with those tokens trained, or use its own tokenizer"
)


def _named(id: int, token: str) -> str:
    return f"{token!r} (id {id})"


def _probe(tokenizer: Any) -> list[int]:
    """Return the tokens of a short conversation, [] where the chat template refuses it: then it is said where it matters."""
    try:
        text = render_prompt(tokenizer, _PROBE) + render_end(tokenizer, _PROBE)
    except RequestRefused:
        return []
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
