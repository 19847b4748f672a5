"""A trainer that pop does not know: defined here, registered, and used by a whole run and by `pop train`."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from pydantic import Field
from transformers import AutoModelForCausalLM, AutoTokenizer

import pop_selfplay as pop
from pop_selfplay import training as trainers
from pop_selfplay.cli import run as run_command
from pop_selfplay.config import RunConfig, Training, parse_config
from pop_selfplay.config import training as kinds
from pop_selfplay.errors import ConfigError, UsageError
from pop_selfplay.models import POCKET_WEIGHTS
from pop_selfplay.pocket.quickstart import quickstart_config
from pop_selfplay.records import PreferencePair
from pop_selfplay.results.run import OtherTraining, TrainingResult
from pop_selfplay.training import Observe, Origin, TrainerOnPairs, register, trainer_of
from pop_selfplay.training.data import encode_answer

DOCS = Path(__file__).parents[3] / "docs" / "training.md"


class NudgeTraining(Training):
    """A few plain steps of gradient descent on the better answers."""

    uses: ClassVar[Literal["pairs", "problems"] | None] = "pairs"

    type: Literal["nudge"] = "nudge"
    steps: int = Field(3, ge=1)
    rate: float = Field(0.01, gt=0)


class Nudge(TrainerOnPairs):
    def __init__(self, settings: NudgeTraining) -> None:
        self.settings = settings

    def train(
        self,
        pairs: Sequence[PreferencePair],
        start: str,
        out: Path,
        seed: int,
        observe: Observe | None = None,
        *,
        origin: Origin | None = None,
    ) -> OtherTraining:
        tokenizer, model = AutoTokenizer.from_pretrained(start), AutoModelForCausalLM.from_pretrained(start)
        losses = list[float]()
        for pair in pairs[: self.settings.steps]:
            row = encode_answer(pair, tokenizer).as_row()
            loss = model(torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss
            loss.backward()
            with torch.no_grad():
                for weight in model.parameters():
                    weight -= self.settings.rate * weight.grad
                    weight.grad = None
            losses.append(loss.item())
        half = out.with_name(f".{out.name}")
        model.save_pretrained(half)
        tokenizer.save_pretrained(half)
        half.rename(out)
        return OtherTraining.model_validate({"losses": losses})


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Forget, after a test, what it registered."""
    yield
    for name in set(kinds.Training.variants()) - {"dpo", "sft", "grpo", "none"}:
        del kinds._TYPES[name]
        trainers._REGISTERED.pop(name, None)
    RunConfig.model_rebuild(force=True)


@pytest.fixture
def nudge(forgotten: None) -> None:
    register(NudgeTraining, Nudge)


def small(training: dict[str, Any]) -> RunConfig:
    """Return a run on 12 documents, over in seconds."""
    data = quickstart_config().model_dump()
    data["synthesis"] |= {"documents": 12, "candidates": 4}
    return parse_config(data | {"training": training, "measure": {"type": "none"}})


def changed(model: Path) -> bool:
    before, after = (AutoModelForCausalLM.from_pretrained(path).state_dict() for path in (POCKET_WEIGHTS, model))
    return any(not torch.equal(before[name], after[name]) for name in before)


def test_a_run_trains_with_it_and_reports_its_figures(nudge: None, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pop.run(small({"type": "nudge", "steps": 2}), run)
    assert changed(run / "models" / "round-1")
    (round_,) = json.loads((run / "result.json").read_text(encoding="utf-8"))["rounds"]
    assert len(round_["training"]["losses"]) == 2
    assert run_command(["status", str(run)]) == 0
    assert (run / "report.html").is_file()


def test_the_command_line_trains_with_it_in_a_run_and_beside_one(
    nudge: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pop.yaml").write_text(pop.config.dump_config(small({"type": "nudge"})), encoding="utf-8")
    run = tmp_path / "run"
    assert run_command(["synth", str(tmp_path / "pop.yaml"), "--out", str(run)]) == 0
    assert run_command(["train", str(run)]) == 0
    assert changed(run / "models" / "round-1")
    beside = ["train", str(run), "--out"]
    assert run_command([*beside, str(tmp_path / "slow"), "--set", "training.rate=0.0001"]) == 0
    assert changed(tmp_path / "slow")
    # The shipped trainers, on the very same pairs: this is how they are compared.
    for kind in ("sft", "dpo"):
        assert run_command([*beside, str(tmp_path / kind), "--set", f"training.type={kind}"]) == 0
        assert kind.upper() in (tmp_path / kind / "README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert run_command([*beside, str(tmp_path / "grpo"), "--set", "training.type=grpo"]) == 2
    assert "it needs more than pairs" in capsys.readouterr().err


def test_the_trainer_of_the_documentation_trains(forgotten: None, tmp_path: Path) -> None:
    section = DOCS.read_text(encoding="utf-8").split("## Your own trainer")[1].split("\n## ")[0]
    exec(section.split("```python\n")[1].split("```")[0], {"__name__": "documented"})
    config = small({"type": "halfway", "dpo": {"learning_rate": 1e-4, "warmup_steps": 0, "num_train_epochs": 3}})
    result = pop.run(config, tmp_path / "run")
    assert isinstance(result.rounds[0].training, TrainingResult)
    assert changed(tmp_path / "run" / "models" / "round-1")


def test_its_settings_are_checked_like_any_other(nudge: None) -> None:
    with pytest.raises(ConfigError, match=r"training\.step: there is no such setting; did you mean steps\?"):
        small({"type": "nudge", "step": 1})
    with pytest.raises(ConfigError, match="there is no type 'zzz'; allowed are dpo, sft, grpo, none, nudge"):
        small({"type": "zzz"})
    assert "nudge" in json.dumps(RunConfig.model_json_schema())


def test_two_trainers_cannot_have_one_name(nudge: None) -> None:
    class Other(Training):
        uses: ClassVar[Literal["pairs", "problems"] | None] = "pairs"
        type: Literal["nudge"] = "nudge"

    with pytest.raises(ValueError, match=r"training\.type nudge already is NudgeTraining"):
        register(Other, lambda settings: Nudge(NudgeTraining()))


def test_where_nothing_is_trained_there_is_no_trainer() -> None:
    with pytest.raises(UsageError, match=r"training\.type none trains nothing: use one of dpo, sft, grpo"):
        trainer_of(small({"type": "none"}).training)


INSTALLED = """
from typing import ClassVar, Literal
from pop_selfplay.config import Training
from pop_selfplay.training import register

class Settings(Training):
    uses: ClassVar = "pairs"
    type: Literal["installed"] = "installed"

class Installed:
    def __init__(self, settings):
        pass

    def train_round(self, session, round_, start, out):
        raise NotImplementedError

register(Settings, Installed)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str) -> None:
    """Put a package that brings the trainer "installed" where Python finds it."""
    information = folder / f"{module}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    (information / "entry_points.txt").write_text(f"[{kinds.ENTRY_POINTS}]\ninstalled = {module}\n", encoding="utf-8")
    (folder / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, module, raising=False)


def test_an_installed_package_is_imported_when_a_config_names_its_trainer(
    forgotten: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "pop_brings_a_trainer", INSTALLED)
    small({"type": "dpo"})
    assert "pop_brings_a_trainer" not in sys.modules
    assert type(trainer_of(small({"type": "installed"}).training)).__name__ == "Installed"


@pytest.mark.parametrize(
    ("code", "says"),
    [("import nowhere", "cannot be loaded: ModuleNotFoundError"), ("", r"must call .*register")],
    ids=["broken", "empty"],
)
def test_an_installed_package_that_brings_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, says: str
) -> None:
    module = f"pop_brings_none_{len(code)}"
    install(tmp_path, monkeypatch, module, code)
    with pytest.raises(ConfigError, match=rf"the trainer installed of an installed package \({module}\) {says}"):
        small({"type": "installed"})
