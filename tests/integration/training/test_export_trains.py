"""An exported file is what others' tools want: it loads with `datasets` and trains with TRL as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset
from tests.forked import Forking
from trl import DPOConfig, DPOTrainer

from pop_selfplay.journal.pairs import COLUMNS, SUFFIXES, write_pairs
from pop_selfplay.records import PreferencePair
from pop_selfplay.training.trl_config import quiet_libraries

MakePairs = Callable[[int], list[PreferencePair]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_loads_with_datasets_and_trains_with_trl(
    tiny_model: str, tmp_path: Path, make_pairs: MakePairs, suffix: str
) -> None:
    pairs = make_pairs(4)
    file = tmp_path / f"pairs{suffix}"
    write_pairs(pairs, file)
    with quiet_libraries():
        kind = {".parquet": "parquet", ".jsonl": "json"}[suffix]
        dataset = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
        assert dataset.column_names == list(COLUMNS)
        assert dataset[2]["prompt"] == [{"role": "user", "content": "What is 2 plus 2?"}]
        assert (dataset[2]["chosen_score"], dataset[2]["round"]) == (2.0, 1)
        config = DPOConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, use_cpu=True, bf16=False, report_to="none", disable_tqdm=True,
            activation_checkpointing=False, dataloader_pin_memory=False, save_strategy="no",
        )  # fmt: skip
        trainer = DPOTrainer(model=tiny_model, args=config, train_dataset=dataset)
        assert trainer.train().training_loss > 0


@pytest.mark.slow
@pytest.mark.timeout(300)  # the command starts a second Python that imports TRL; minutes on a busy machine
def test_an_export_trains_with_the_trl_command(tiny_model: str, tmp_path: Path, make_pairs: MakePairs, forked: Forking) -> None:
    (tmp_path / "data").mkdir()
    write_pairs(make_pairs(4), tmp_path / "data" / "pairs.parquet")
    arguments = {
        "dataset_name": tmp_path / "data",
        "model_name_or_path": tiny_model,
        "output_dir": tmp_path / "out",
        "max_steps": 1,
        "report_to": "none",
        "bf16": "false",
        "use_cpu": "true",
    }
    run = forked.run(
        "import sys; from trl.cli import main; sys.exit(main())",
        "dpo",
        *(part for k, v in arguments.items() for part in (f"--{k}", str(v))),
        environment={"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "out" / "model.safetensors").is_file()
