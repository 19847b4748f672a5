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
