"""Speed and memory of DPO on one GPU: all weights and LoRA, against the reference's setting, on a 7B of random weights.

    python benchmarks/gpu_train.py --json benchmarks/results/gpu_train.json
    python benchmarks/gpu_train.py --ways full,reference --lengths 2048 --steps 1

The model has the architecture of Qwen2.5-7B, written out below, and random weights; nothing is downloaded. Pairs are random
tokens: 16 pairs per step, prompt and each answer together as long as `--lengths` says. What is timed is whole optimiser steps
of the trainer that `pop train` uses, after one step to warm up; reference log-probabilities are computed before, as always.

    full       all weights, in bf16 with remainders
    lora       LoRA on all linear layers, rank 16
    reference  all weights, in fp32, in the machine's memory: they go to the GPU layer by layer, and the optimiser works on the
               processor. That is what ZeRO-3 with CPU offload does; here it is done by PyTorch's FSDP2, without DeepSpeed.

Every way runs in a process of its own, so that no memory is left over from another. Without a GPU a tiny model on short
sequences stands in, so that this file cannot rot; its figures mean nothing, and the report says so.

**Model FLOP utilisation** is the arithmetic that the model needs, as if nothing were computed twice, over what the GPU could
do in that time (dense bf16, from its data sheet). Per token, forward and backward through the weights are 6 · N operations, N
counting all weights but the input embedding, which is looked up; only answers go through the output layer. LoRA needs no
gradients of the weights: 4 · N. Causal attention adds, per sequence of T tokens and layer, 6 · T² · (heads · head size): two
products over T²/2 pairs of tokens, 2 operations each, and a backward pass of twice the forward one. What is computed again
because activations were not kept does not count.
"""

import argparse
import json
import os
import platform
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, TrainerCallback

from pop_selfplay.config import DPOTraining, LoRA
from pop_selfplay.training.data import PairSplit, TokenPair
from pop_selfplay.training.dpo import DPO
from pop_selfplay.training.loading import load_tokenizer
from pop_selfplay.training.offline import Job
from pop_selfplay.training.trl_config import Settings, quiet_libraries

QWEN: Final[dict[str, Any]] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131072,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
TINY: Final[dict[str, Any]] = QWEN | {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
PEAK_TFLOPS: Final = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "B200": 2250}
"""Dense bf16 of the data sheets, by a part of the name that the driver gives; the first that fits counts."""
PAIRS: Final = 16
WAYS: Final = ("full", "lora", "reference")


class Size(NamedTuple):
    """What the arithmetic of a model needs. `body` counts the weights between embedding and output layer, `head` its own."""

    body: int
    head: int
    layers: int
    width: int
    """Heads times head size."""

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Size":
        """Count the weights of a Qwen2 architecture; biases and norms, a ten-thousandth of them, are left out."""
        hidden, inner, layers = config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"]
        head_size = hidden // config["num_attention_heads"]
        attention = 2 * hidden * hidden + 2 * hidden * head_size * config["num_key_value_heads"]
        return cls(layers * (attention + 3 * hidden * inner), hidden * config["vocab_size"], layers, hidden)


def operations(size: Size, tokens: int, answer_tokens: int, *, frozen: bool) -> float:
    """Return the operations of one training pass over one sequence of `tokens`, the last `answer_tokens` of them scored.

    With `frozen` weights (LoRA) no gradients of the weights are computed. The formula is in the module's docstring.
    """
    per_weight = 4 if frozen else 6
    weights = per_weight * (size.body * tokens + size.head * answer_tokens)
    return float(weights + 6 * tokens**2 * size.width * size.layers)


def utilisation(done: float, seconds: float, peak_tflops: float) -> float:
    """Return which share of a GPU's peak the operations `done` in `seconds` are."""
    return done / (seconds * peak_tflops * 1e12)


def main() -> None:
    """Measure every way at every length, or, as a child, one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated: full, lora, reference")
    parser.add_argument("--lengths", default="2048,6144" if gpu else "48,96", help="tokens of a sequence, comma-separated")
    parser.add_argument("--steps", type=int, default=3 if gpu else 1, help="optimiser steps that are timed")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--one", nargs=3, metavar=("WAY", "LENGTH", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, length, model = options.one
        sys.stdout.write(json.dumps(measure(way, int(length), Path(model), options.steps)) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="pop-gpu-train-") as folder:
        make_start(Path(folder) / "start")
        runs = [
            run_one(way, int(length), Path(folder) / "start", options.steps)
            for length in options.lengths.split(",")
            for way in options.ways.split(",")
        ]
    report = {"machine": machine(), "pairs_per_step": PAIRS, "runs": runs, "against_reference": against_reference(runs)}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def make_start(directory: Path) -> None:
    """Save a model of random weights, made where it is fastest, and a tokenizer of a few words to go with it."""
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    config = Qwen2Config(**(QWEN if gpu else TINY), pad_token_id=0, bos_token_id=None, eos_token_id=1)
    with torch.device("cuda" if gpu else "cpu"):
        model = Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)
    model.save_pretrained(directory)
    vocabulary = {"<pad>": 0, "<end>": 1, "a": 2}
    words = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>").save_pretrained(directory)


def run_one(way: str, length: int, start: Path, steps: int) -> dict[str, Any]:
    """Measure one way in a process of its own; where it fails, say how instead of losing the others."""
    command = [sys.executable, __file__, *arguments_of(way, length, start, steps)]
    environment = os.environ | environment_of(way)
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        figures = {"way": way, "length": length, "failed": child.stderr.strip().splitlines()[-1:]}
    else:
        figures = json.loads(child.stdout.splitlines()[-1])
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    return figures


def arguments_of(way: str, length: int, start: Path, steps: int) -> list[str]:
    """Return the arguments with which this file measures one way."""
    return ["--one", way, str(length), str(start), "--steps", str(steps)]


def environment_of(way: str) -> dict[str, str]:
    """Return what a way's process finds in its environment besides our own."""
    environment = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    if way == "reference":
        environment |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        environment |= {"MASTER_PORT": str(free_port())}
        environment |= {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}
        environment |= {"FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP", "FSDP_RESHARD_AFTER_FORWARD": "true"}
        if not torch.cuda.is_available():
            environment |= {"ACCELERATE_USE_CPU": "true"}  # accelerate then shards nothing; the rest is the same
    return environment


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def measure(way: str, length: int, start: Path, steps: int) -> dict[str, Any]:
    """Train `steps` steps, and one before them, and return tokens per second, peak memory and utilisation."""
    pairs = random_pairs(PAIRS * (steps + 1), length)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(way, pairs, start, Path(folder), steps)
        clock = Clock()
        trainer.add_callback(clock)
        with quiet_libraries():
            trainer.train()
    seconds = clock.seconds[1:]
    sequences = 2 * PAIRS * len(seconds)
    answers = len(pairs[0].chosen)
    done = sequences * operations(Size.of(QWEN if torch.cuda.is_available() else TINY), length, answers, frozen=way == "lora")
    peak = peak_tflops()
    return {
        "way": way,
        "length": length,
        "seconds_per_step": round(sum(seconds) / len(seconds), 3),
        "tokens_per_second": round(sequences * length / sum(seconds), 1),
        "model_flop_utilisation": None if peak is None else round(utilisation(done, sum(seconds), peak), 4),
        "peak_gpu_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None,
        "peak_process_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "pairs_per_pass": trainer.args.per_device_train_batch_size,
        "attention": trainer.model.config._attn_implementation,
        "loss": trainer.state.log_history[-1].get("train_loss"),
    }


def trainer_of(way: str, pairs: list[TokenPair], start: Path, folder: Path, steps: int) -> Any:
    """Return the product's own trainer for one way; what the reference sets otherwise is set here."""
    fields: dict[str, Any] = {"max_steps": steps + 1, "save_strategy": "no", "eval_strategy": "no", "max_length": None}
    if way == "reference":
        fields |= {"per_device_train_batch_size": 1, "padding_free": False, "use_liger_kernel": False}
        fields |= {"model_init_kwargs": {"dtype": "float32", "attn_implementation": "sdpa"}}
    config = DPOTraining(dpo=fields, batch_size=PAIRS, held_out_share=0, lora=LoRA() if way == "lora" else None)
    settings = Settings.of(config, DPO.defaults)
    chosen = PairSplit(pairs, [], {}, max(pair.longest for pair in pairs))
    job = Job([], str(start), folder / "out", config, 1, None)
    with quiet_libraries():
        return DPO(config).make_trainer(chosen, job, load_tokenizer(str(start), settings.hub), settings, folder / "work")


def random_pairs(count: int, length: int) -> list[TokenPair]:
    """Return pairs of random tokens, a sixth of each sequence prompt."""
    draw = random.Random(0)
    highest = (QWEN if torch.cuda.is_available() else TINY)["vocab_size"]
    prompt = length // 6

    def ids(n: int) -> list[int]:
        return [draw.randrange(3, highest) for _ in range(n)]

    return [TokenPair(ids(prompt), ids(length - prompt), ids(length - prompt)) for _ in range(count)]


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped to us
    """Times every optimiser step, with all the GPU's work for it done."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(now() - self._began)


def now() -> float:
    """Return the time once the GPU has nothing left to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_tflops() -> float | None:
    """Return the peak of the GPU at hand, None without one or for one that is not in the table."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part in name), None)


def against_reference(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return how many times the reference's tokens per second each other way reaches, by way and length."""
    speed = {(run["way"], run["length"]): run["tokens_per_second"] for run in runs if "tokens_per_second" in run}
    return {
        f"{way} at {length}": round(tokens / speed["reference", length], 2)
        for (way, length), tokens in speed.items()
        if way != "reference" and ("reference", length) in speed
    }


def machine() -> dict[str, Any]:
    """Return what the figures were measured on; without a GPU they mean nothing."""
    gpu = torch.cuda.is_available()
    return {
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "note": None if gpu else "no GPU: a tiny model on the processor, only to show that this script works",
        "peak_tflops": peak_tflops(),
        "model": "Qwen2.5-7B architecture, random weights" if gpu else "tiny",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    main()
