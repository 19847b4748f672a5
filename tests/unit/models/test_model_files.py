"""What a model's directory is found to hold, before and after it is loaded: adapters, and tokenizers that do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tests.unit.models.makers import make_request
from tests.unit.models.test_local import TEMPLATE, complete, save_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.config import LocalModel, parse_config
from pop_selfplay.errors import ModelRefused, RequestRefused
from pop_selfplay.models.identity import weights_of
from pop_selfplay.models.local import LocalChatModel
from pop_selfplay.models.model_files import check_vocabulary, find_adapter
from pop_selfplay.runs.session import open_session
from pop_selfplay.training.loading import load_tokenizer
from pop_selfplay.training.trl_config import quiet_libraries

ASKED = [make_request(seed=seed, max_tokens=20) for seed in range(4)]


def save_adapter(folder: Path, base: str, named: object) -> str:
    """Save LoRA matrices for the model at `base` that say they are for `named`, and return where."""
    torch.manual_seed(1)
    settings = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, lora_alpha=64)
    with quiet_libraries():
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings).save_pretrained(folder)
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": named}))
    return str(folder)


def merged(base: str, adapter: str, folder: Path) -> str:
    """Save the sum of a model and its adapter, and return where."""
    with quiet_libraries():
        both = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
        both.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("named", ["../base", "base", "./base"])
def test_a_relative_base_is_found_beside_the_adapter_or_where_it_was_trained(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = save_model(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, named)
    monkeypatch.chdir(tmp_path / "adapter" if named.startswith("../") else tmp_path)
    texts = [one.text for one in complete(adapter, ASKED)]
    assert texts == [one.text for one in complete(merged(base, adapter, tmp_path / "merged"), ASKED)]
    assert texts != [one.text for one in complete(base, ASKED)], "the matrices play their part"


def test_a_base_beside_the_adapter_goes_before_one_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "adapter" / "base").mkdir(parents=True)
    (tmp_path / "base").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "base"}')
    monkeypatch.chdir(tmp_path)
    found = find_adapter("adapter")
    assert found is not None and found.base == str(tmp_path / "adapter" / "base")


def test_an_adapter_without_a_tokenizer_takes_that_of_its_base(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    found = find_adapter(save_adapter(tmp_path / "adapter", base, base))
    assert found is not None and found.tokenizer == base
    shutil.copy(tmp_path / "base" / "tokenizer.json", tmp_path / "adapter")
    own = find_adapter(str(tmp_path / "adapter"))
    assert own is not None and own.tokenizer == str(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            '{"base_model_name_or_path": "../gone"}',
            r"trained on '\.\./gone', which is neither .*correct base_model_name_or_path",
        ),
        ('{"base_model_name_or_path": "a/b/c"}', "neither a hub name nor the directory"),
        ('{"base_model_name_or_path": "/gone/base"}', "neither a hub name nor the directory '/gone/base'"),
        ('{"base_model_name_or_path": null}', "names no base model"),
        ('{"base_model_name_or_path": 3}', "names no base model"),
        ("{}", "names no base model"),
        ("[1]", "cannot be read"),
        ("{", "cannot be read"),
    ],
)
def test_an_adapter_whose_base_cannot_be_found_is_refused_with_what_it_names(config: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(ModelRefused, match=message):
        LocalChatModel(LocalModel(path=str(tmp_path)))


def test_a_hub_name_stays_one_and_whole_weights_are_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/name"}')
    found = find_adapter(str(tmp_path))
    assert found is not None and found.base == "org/name"
    (tmp_path / "config.json").write_text("{}")
    assert find_adapter(str(tmp_path)) is None
    assert find_adapter("org/name") is None


def test_training_from_an_adapter_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    base = save_model(tmp_path / "base")
    adapter = save_adapter(tmp_path / "adapter", base, "../base")
    with pytest.raises(ModelRefused, match="merge the two"):
        load_tokenizer(adapter, {})
    run = {"domain": "health_care", "corpus": {"type": "pocket"}, "model": {"type": "local", "path": adapter}}
    with pytest.raises(ModelRefused, match="merge the two"), open_session(tmp_path / "run", parse_config(run)):
        pass
    with open_session(tmp_path / "other", parse_config(run | {"training": {"type": "none"}})):
        pass  # it may play


def test_a_path_from_home_is_written_out_for_training_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_of(LocalModel(path="~/model")) == str(tmp_path / "model")
    assert weights_of(LocalModel(path="org/name")) == "org/name"


# --- the tokenizer and the embedding ----------------------------------------------------------------------------------


def retokenized(path: Path, **added: Any) -> str:
    """Save a model whose tokenizer has further tokens, for which its embedding has no rows, and return where."""
    save_model(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.add_tokens(added.pop("plain", []))
    tokenizer.add_special_tokens(added)
    tokenizer.save_pretrained(path)
    return str(path)


def refused(path: str) -> str:
    """Return the words by which both the local model and training refuse the model."""
    with pytest.raises(ModelRefused) as played:
        LocalChatModel(LocalModel(path=path))
    with pytest.raises(ModelRefused) as trained:
        load_tokenizer(path, {})
    assert str(played.value) == str(trained.value)
    return str(played.value)


@pytest.mark.parametrize("role", ["pad_token", "eos_token"])
def test_an_end_or_a_padding_beyond_the_embedding_is_refused(role: str, tmp_path: Path) -> None:
    said = refused(retokenized(tmp_path / "model", **{role: "[NEW]"}))
    assert "'[NEW]' (id 38)" in said and "38 rows" in said and "resize_token_embeddings" in said


def test_a_chat_template_with_a_token_beyond_the_embedding_is_refused(tmp_path: Path) -> None:
    path = retokenized(tmp_path / "model", additional_special_tokens=["<|turn|>"])
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = "<|turn|>" + TEMPLATE
    tokenizer.save_pretrained(path)
    assert "'<|turn|>' (id 38) in its chat template" in refused(path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = save_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(path)
    model.resize_token_embeddings(30)
    model.save_pretrained(path)
    assert "has 8 tokens beyond the model's embedding of 30 rows" in refused(path)


def test_a_token_that_nothing_uses_may_lie_beyond_the_embedding_until_a_text_holds_it(tmp_path: Path) -> None:
    path = retokenized(tmp_path / "model", plain=["moss"])
    load_tokenizer(path, {})
    assert complete(path, [make_request("Why is it green?", max_tokens=5)])
    with pytest.raises(RequestRefused, match="token 38, and the model's embedding has 38 rows"):
        complete(path, [make_request("Why is moss green?", max_tokens=5)])


def test_more_rows_than_tokens_are_ordinary(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(save_model(tmp_path / "model"))
    check_vocabulary(tokenizer, 64, "padded to a round number")
