"""How fast documents are chosen from a large corpus, and in how much memory.

    python benchmarks/corpus.py [--documents N] [--count N] [--rounds N] [--directory DIR] [--json FILE]

Writes a synthetic JSONL corpus of 300-word documents (of every 100, one repeats an earlier text, ten are near-duplicates
of one, one repeats a benchmark), chooses from it as a run does in its last round, and prints one JSON object. The
defaults ask for more than any run of the paper. Memory is the peak of the whole process. `documents_per_cpu_s` is what
an idle core does; `documents_per_s` is by the clock, on a machine that may have had other work. The corpus is deleted
afterwards.
"""

import argparse
import json
import platform
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from pop_selfplay.config import DocumentFilter, FilesCorpus
from pop_selfplay.corpus import choose, read_documents

WORDS_OF_A_SENTENCE = 12
SENTENCES = 25
OFTEN = 10_000  # how many originals later documents are copied from


def write_corpus(path: Path, benchmark: Path, documents: int) -> None:
    """Write `documents` lines of about 2 kB each, and a benchmark file that one in a hundred of them repeats."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(30_000)]
    pool = [" ".join(rng.choices(vocabulary, k=WORDS_OF_A_SENTENCE)) + "." for _ in range(200_000)]
    questions = [" ".join(rng.choices(vocabulary, k=40)) + "?" for _ in range(1000)]
    benchmark.write_text("".join(json.dumps({"question": question}) + "\n" for question in questions), encoding="utf-8")
    originals: list[list[str]] = []
    with path.open("w", encoding="utf-8") as file:
        for number in range(documents):
            kind = number % 100
            sentences = rng.choices(pool, k=SENTENCES)
            if originals and kind < 11:  # a copy, or one with another last sentence: similarity 0.91
                sentences = [*rng.choice(originals)[:-1], sentences[-1]] if kind else rng.choice(originals)
            elif kind == 11:
                sentences[7] = rng.choice(questions)
            elif len(originals) < OFTEN:
                originals.append(sentences)
            file.write(json.dumps({"text": " ".join(sentences)}) + "\n")


def peak_mb() -> float:
    """Return the peak resident memory of this process in MB (10**6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def measure(corpus: Path, benchmark: Path, count: int, rounds: int) -> dict[str, object]:
    """Choose the documents of the last of `rounds` rounds, and return what that took."""
    filter = DocumentFilter(benchmarks=[str(benchmark)])
    start, cpu_start = time.perf_counter(), time.process_time()
    choice = choose(
        read_documents(FilesCorpus(paths=[str(corpus)])), seed=42, count=count, skip=(rounds - 1) * count, filter=filter
    )
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "documents": choice.read,
        "corpus_mb": round(corpus.stat().st_size / 1e6),
        "chosen": len(choice.documents),
        "round": rounds,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "documents_per_s": round(choice.read / seconds),
        "documents_per_cpu_s": round(choice.read / cpu_seconds),
        "peak_rss_mb": round(peak_mb()),
        "dropped": dict(sorted(choice.dropped.items())),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=8192, help="documents of a round")
    parser.add_argument("--rounds", type=int, default=3, help="measure this round; the ones before it are passed over")
    parser.add_argument("--directory", default=None, help="where the corpus is written; default: the system's temporary folder")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        corpus, benchmark = Path(folder, "corpus.jsonl"), Path(folder, "benchmark.jsonl")
        write_corpus(corpus, benchmark, arguments.documents)
        figures = json.dumps(measure(corpus, benchmark, arguments.count, arguments.rounds), indent=2)
    sys.stdout.write(figures + "\n")
    if arguments.json:
        arguments.json.write_text(figures + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
