"""What merging LoRA matrices into 16 bits loses: log-probabilities of held-out pairs by the adapter and by merged weights.

    python benchmarks/lora_merge.py --model DIR --rates 1e-6,1e-5,1e-4 --steps 60 --json benchmarks/results/lora_merge.json

Trains LoRA (rank 16, all linear layers) by DPO on pairs of a right and a wrong answer (data/prompt_documents.yaml: every second
problem; the others are held out), and then merges in four ways. All arithmetic is in 32 bits, so that nothing but the stored
weights differs:

    fp32        the sum as it is
    bf16        the sum rounded to the nearest, which is what saving a bf16 model does
    stochastic  the sum rounded up or down by chance, as `pop train` does it
    start       nothing added

`error` is the mean difference of a held-out answer's log-probability from the adapter's, in nats, and `lost` that as a share of
what training changed (the error of `start`). `gain_in_margin` says how much more than before the adapter prefers right answers,
and `kept` which share of that a merged model has, where it is not close to 0.
"""

import argparse
import copy
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
import yaml
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from pop_selfplay.training.export import rounded

DATA: Final = Path(__file__).parent / "data" / "prompt_documents.yaml"
WAYS: Final = ("fp32", "bf16", "stochastic", "start")
BETA: Final = 0.01
BATCH: Final = 4
CHANCE: Final = torch.Generator().manual_seed(0)

Pair = tuple[list[int], list[int], list[int]]
"""Prompt, chosen and rejected as tokens."""


def pairs_of(tokenizer: Any) -> list[Pair]:
    """Return a pair for every planted problem: both facts right against both wrong."""
    found = []
    for entries in yaml.safe_load(DATA.read_text(encoding="utf-8")).values():
        for entry in entries:
            if "facts" in entry:
                asked = [{"role": "user", "content": entry["problem"]}]
                prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
                answers = (" ".join(fact[kind] for fact in entry["facts"]) for kind in ("right", "wrong"))
                texts = (prompt, *(f"{answer}{tokenizer.eos_token}" for answer in answers))
                one, two, three = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts)
                found.append((one, two, three))
    return found


def log_probability(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """Return log p(answer | prompt), summed over its tokens."""
    ids = torch.tensor([[*prompt, *answer]])
    logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits, dim=-1).gather(1, torch.tensor(answer)[:, None]).sum()


@torch.no_grad()
def log_probabilities(model: Any, pairs: Sequence[Pair]) -> torch.Tensor:
    """Return the log-probabilities of chosen and rejected, [pairs, 2]."""
    return torch.stack([torch.stack([log_probability(model, prompt, one) for one in answers]) for prompt, *answers in pairs])


def trained(start: Any, pairs: Sequence[Pair], rate: float, steps: int) -> Any:
    """Return a copy of `start` with LoRA matrices that were trained on `pairs` by DPO."""
    torch.manual_seed(0)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(start), lora)
    reference = log_probabilities(start, pairs)
    optimiser = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=rate, weight_decay=0)
    for step in range(steps):
        for place in range(BATCH):
            number = (step * BATCH + place) % len(pairs)
            prompt, chosen, rejected = pairs[number]
            lead = log_probability(model, prompt, chosen) - log_probability(model, prompt, rejected)
            before = reference[number, 0] - reference[number, 1]
            loss = -torch.nn.functional.logsigmoid(BETA * (lead - before)) / BATCH
            torch.autograd.backward(loss)
        optimiser.step()
        optimiser.zero_grad()
    return model


def stored(weight: torch.Tensor, way: str) -> torch.Tensor:
    """Return a weight as it is read back after it was stored in the given way."""
    if way == "fp32":
        return weight
    return (weight.bfloat16() if way == "bf16" else rounded(weight, torch.bfloat16, CHANCE)).float()


def measured(start: Any, adapter: Any, held_out: Sequence[Pair]) -> dict[str, Any]:
    """Return what each way of merging keeps."""
    base, wanted = log_probabilities(start, held_out), log_probabilities(adapter, held_out)
    gain = ((wanted - base)[:, 0] - (wanted - base)[:, 1]).mean().item()
    before = {name: weight.clone() for name, weight in start.state_dict().items()}
    whole = copy.deepcopy(adapter).merge_and_unload()
    sums = {name: weight.clone() for name, weight in whole.state_dict().items()}
    touched = [name for name in sums if not torch.equal(sums[name], before[name])]
    changed = sum(int((stored(sums[n], "bf16") != before[n]).sum()) for n in touched) / sum(sums[n].numel() for n in touched)
    found: dict[str, Any] = {"gain_in_margin": gain, "weights_changed_in_bf16": changed, "held_out": len(held_out)}
    for way in WAYS:
        whole.load_state_dict({n: before[n] if way == "start" or n not in touched else stored(sums[n], way) for n in sums})
        got = log_probabilities(whole, held_out)
        lead = ((got - base)[:, 0] - (got - base)[:, 1]).mean().item()
        found[way] = {"kept": lead / gain, "error": (got - wanted).abs().mean().item()}
    return found | {way: {**found[way], "lost": found[way]["error"] / found["start"]["error"]} for way in WAYS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model directory or hub name")
    parser.add_argument("--rates", default="1e-6,1e-5,1e-4")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    # Stored in 16 bits, computed in 32.
    start = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).float().eval()
    pairs = pairs_of(tokenizer)
    found: dict[str, Any] = {"model": Path(args.model).name, "steps": args.steps, "pairs": len(pairs[::2])}
    for rate in args.rates.split(","):
        adapter = trained(start, pairs[::2], float(rate), args.steps)
        found[rate] = measured(start, adapter.eval(), pairs[1::2])
        sys.stdout.write(f"{rate} {json.dumps(found[rate])}\n")
        sys.stdout.flush()
        if args.json:
            args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
