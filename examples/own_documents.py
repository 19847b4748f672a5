"""Improve a model on your own documents, in about ten lines. Usage: python examples/own_documents.py MODEL TEXTS OUT"""

import sys

import pop_selfplay as pop


def main(model: str, texts: str, out: str) -> None:
    """Run self-play with the model directory (or hub name) `model` on the text files under `texts`, in the directory `out`."""
    config = pop.parse_config(
        {
            "domain": "instruction_following",
            "corpus": {"type": "files", "paths": [texts]},
            "model": {"type": "local", "path": model},
            "synthesis": {"documents": 500, "candidates": 8},
        }
    )
    result = pop.run(config, out)
    gain = result.measure["held_out_self_judged"]["sampled"].gain
    sys.stdout.write(f"self-judged gain on held-out documents: {gain.mean} [{gain.low}, {gain.high}], n={gain.n}\n")
    sys.stdout.write(f"{pop.export(out, out + '/pairs.jsonl')} pairs in {out}/pairs.jsonl\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
