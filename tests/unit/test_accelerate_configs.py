"""The launcher's files in configs/accelerate: accelerate itself reads them, and they become what their names say."""

import argparse
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env

FOLDER = Path(__file__).parents[2] / "configs" / "accelerate"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def launched(name: str) -> argparse.Namespace:
    """Return what `accelerate launch` makes of the file and the command in its comment."""
    line = next(line for line in FILES[name].read_text(encoding="utf-8").splitlines() if "accelerate launch" in line)
    words = line.removeprefix("#").split()
    assert words[:4] == ["accelerate", "launch", "--config_file", f"configs/accelerate/{name}.yaml"]
    words[3] = str(FILES[name])
    arguments: argparse.Namespace
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(words[2:]))
    assert arguments.module and arguments.training_script == "pop_selfplay"
    assert arguments.training_script_args == ["train", "RUN"]
    return arguments


def test_the_three_setups_are_there() -> None:
    assert set(FILES) == {"one_gpu", "fsdp2", "deepspeed_zero3"}


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_the_file(name: str) -> None:
    config = load_config_from_file(str(FILES[name]))
    assert config.mixed_precision == "bf16"
    assert config.num_processes == (1 if name == "one_gpu" else 8)


def test_one_gpu_is_one_process_in_bf16() -> None:
    _, environment = prepare_simple_launcher_cmd_env(launched("one_gpu"))
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"
    assert "ACCELERATE_USE_FSDP" not in environment


def test_fsdp2_shards_everything_and_checkpoints_no_activations_itself() -> None:
    environment = prepare_multi_gpu_env(launched("fsdp2"))
    assert (environment["ACCELERATE_USE_FSDP"], environment["FSDP_VERSION"]) == ("true", "2")
    assert environment["FSDP_RESHARD_AFTER_FORWARD"] == "true"
    assert environment["FSDP_ACTIVATION_CHECKPOINTING"] == "false"
    assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"


def test_zero3_gathers_the_finished_model() -> None:
    arguments = launched("deepspeed_zero3")
    assert arguments.use_deepspeed and arguments.zero_stage == 3
    assert str(arguments.zero3_save_16bit_model).lower() == "true"
    assert arguments.offload_optimizer_device == arguments.offload_param_device == "none"
