"""A config comes from a file by any kind of path, and goes back to one."""

from pathlib import Path

import pytest

import pop_selfplay as pop
from pop_selfplay.config import dump_config
from pop_selfplay.errors import ConfigError


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("domain: math\ncorpus: {type: pocket}\nmodel: {type: pocket}\n", encoding="utf-8")
    config = pop.load_config(str(path), ["seed=7"])
    assert config.seed == 7 and config == pop.load_config(path, ["seed=7"])
    path.write_text(dump_config(config), encoding="utf-8")
    assert pop.load_config(path) == config


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot read config nowhere\.yaml: No such file or directory; check the name"):
        pop.load_config("nowhere.yaml")


def test_an_override_of_one_setting_keeps_the_default_type(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("domain: math\ncorpus: {type: pocket}\nmodel: {type: pocket}\n", encoding="utf-8")
    config = pop.load_config(path, ["measure.documents=10", "training.batch_size=8"])
    assert config.measure.type == "self_judged" and config.training.type == "dpo"
    assert pop.load_config(path, ["measure.type=exam", "measure.samples=3"]).measure.type == "exam"


def test_a_type_that_is_named_keeps_the_settings_that_were_given_without_one(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = "domain: math\ncorpus: {type: pocket}\nmodel: {type: pocket}\ntraining: {batch_size: 8, dpo: {beta: 0.3}}\n"
    path.write_text(text, encoding="utf-8")
    assert pop.load_config(path, ["training.type=dpo"]) == pop.load_config(path)
    assert pop.load_config(path, ["training.type=sft"]) == pop.load_config(path, ["training={type: sft}"])
    assert not pop.load_config(path, ["training.type=none"]).training.trains


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"domain: {nested(1000)}", "nested too deeply"),
        (f"domain: {nested(60)}", "nested more than 50 deep"),
        ("domain: &a [*a]", "nested more than 50 deep"),
        ("domain: [&a [" + "1," * 1000 + "], &b [" + "*a," * 1000 + "], [" + "*b," * 1000 + "]]", "more than 100,000 values"),
        ("domain: math\nseed: 1\nseed: 2", "the key 'seed' occurs twice"),
        ("domain: math\nsynthesis: {candidates: 2, candidates: 4}", "the key 'candidates' occurs twice"),
        ("seed: !!int ''", "not valid YAML"),
        ("seed: !!bool maybe", "not valid YAML"),
        ("seed: !!timestamp soon", "not valid YAML"),
        ("seed: 2026-13-45", "not valid YAML"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("seed: !!python/object:os.system x", "not valid YAML"),
        ("seed: 1\0", "not valid YAML"),
        ("{[a]: 1}", "not valid YAML"),
    ],
)
def test_a_file_that_no_config_is_like_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        pop.load_config(path)
    if "\n" not in text and "\0" not in text:
        with pytest.raises(ConfigError):
            pop.load_config(_good(tmp_path), [text.replace(": ", "=", 1)])


def _good(folder: Path) -> Path:
    path = folder / "good.yaml"
    path.write_text("domain: math\ncorpus: {type: pocket}\nmodel: {type: pocket}\n", encoding="utf-8")
    return path


def test_anchors_and_merges_may_be_used(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "domain: math\ncorpus: {type: pocket}\nmodel: &m {type: simulated, seed: 3}\ntraining: {type: none}\n"
        "teachers: {judge: *m, solver: {<<: *m, seed: 4}}\n",
        encoding="utf-8",
    )
    teachers = pop.load_config(path).model_dump(mode="json")["teachers"]
    assert teachers["judge"]["seed"] == 3 and teachers["solver"]["seed"] == 4


@pytest.mark.parametrize(("text", "seed"), [("010", 10), ("0x10", 16), ("1_000", 1000), ("-0", 0)])
def test_a_number_is_what_people_take_it_for(text: str, seed: int, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"domain: math\ncorpus: {{type: pocket}}\nmodel: {{type: pocket}}\nseed: {text}\n", encoding="utf-8")
    assert pop.load_config(path).seed == seed
    assert pop.load_config(path, [f"seed={text}"]).seed == seed


@pytest.mark.parametrize("text", ["1:30", "01:30", "1:30.5"])
def test_a_time_is_no_number_of_seconds(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("domain: math\ncorpus: {type: pocket}\nmodel: {type: pocket}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"seed: .*got '{text}'"):
        pop.load_config(path, [f"seed={text}"])
