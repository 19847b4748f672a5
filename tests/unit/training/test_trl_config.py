"""What each trainer on pairs starts from and refuses is what docs/configuration.md says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pop_selfplay.config import OfflineTraining, SFTTraining
from pop_selfplay.errors import ConfigError
from pop_selfplay.training.dpo import DPO
from pop_selfplay.training.offline import Offline
from pop_selfplay.training.sft import SFT
from pop_selfplay.training.trl_config import Settings

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"


def section(kind: str) -> str:
    return DOCS.read_text(encoding="utf-8").split(f"#### What `training.{kind}` starts from")[1].split("\n### ")[0]


@pytest.mark.parametrize(("kind", "trainer"), [("dpo", DPO), ("sft", SFT)])
def test_what_a_trainer_starts_from_and_what_it_refuses_is_documented(kind: str, trainer: type[Offline[Any, Any]]) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section(kind), re.MULTILINE))
    # YAML reads a bare no as false; in the table it is the text that TRL takes.
    documented = {name: value if value in ("no", "none") else yaml.safe_load(value) for name, value in rows.items()}
    assert documented == trainer.defaults.values
    assert [name for name in trainer.defaults.owned if f"`{name}`" not in section(kind)] == []


@pytest.mark.parametrize("name", sorted(SFT.defaults.owned))
def test_what_sft_decides_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(SFT.defaults.owned[name])):
        Settings.of(SFTTraining(sft={name: 1}), SFT.defaults)


def test_an_unknown_field_is_refused_with_the_nearest_one_and_the_setting_it_stands_in() -> None:
    with pytest.raises(
        ConfigError, match=r"training\.sft\.learning_rat .*not a field of trl\.SFTConfig: did you mean learning_rate"
    ):
        Settings.of(SFTTraining(sft={"learning_rat": 1}), SFT.defaults)


def test_all_sequences_of_a_pass_are_counted(tmp_path: Path) -> None:
    def per_pass(training: OfflineTraining, trainer: type[Offline[Any, Any]]) -> int:
        config = Settings.of(training, trainer.defaults).trl_config(tmp_path, 1, 2048)
        passes: int = config.per_device_train_batch_size
        assert passes * config.gradient_accumulation_steps == 16
        return passes

    assert per_pass(SFTTraining(), SFT) == 8, "16384 tokens, one sequence each"
