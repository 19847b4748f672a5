"""Install torch into the environment of the Python that runs this, before anything else brings CUDA in: `make setup` starts it.

On Linux pip's own index has torch built for CUDA, several gigabytes of it. Where there is no NVIDIA GPU, the build for CPUs is
taken from PyTorch's index instead, if that can be reached; else pip's own index, or the mirror it is set up with, must do.
`TORCH_INDEX` in the environment names another index, and an empty one pip's own. Only the standard library is used here.
"""

import os
import platform
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
CONSTRAINTS: Final = Path(__file__).resolve().parents[1] / "constraints.txt"
PATIENCE_S: Final = 10


def chosen_index() -> tuple[str, str]:
    """Return the index to take torch from, "" for pip's own, and why, in words."""
    named = os.environ.get("TORCH_INDEX")
    if named is not None:
        return named, "as TORCH_INDEX says"
    if platform.system() != "Linux":
        return "", "its builds for this system have no CUDA"
    if shutil.which("nvidia-smi"):
        return "", "there is an NVIDIA GPU here"
    if not reachable(CPU_INDEX):
        return "", f"{CPU_INDEX} cannot be reached; what pip finds may be the build for CUDA, which takes gigabytes"
    return CPU_INDEX, "no NVIDIA GPU here, so the build for CPUs"


def reachable(index: str) -> bool:
    """Whether that index answers for torch."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=PATIENCE_S) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def install(index: str) -> int:
    """Let pip install torch from there, and return its exit code. What torch needs comes with the rest."""
    source = ["--no-deps", "--index-url", index] if index else []
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(CONSTRAINTS), *source, "torch"]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Install it; where the index for CPUs has no build for this machine, from pip's own. Return pip's exit code."""
    index, why = chosen_index()
    sys.stdout.write(f"torch from {index or 'the index of pip'} ({why})\n")
    sys.stdout.flush()
    code = install(index)
    if code == 0 or index != CPU_INDEX or "TORCH_INDEX" in os.environ:
        return code
    sys.stdout.write(f"{index} has none for this machine: torch from the index of pip\n")
    sys.stdout.flush()
    return install("")


if __name__ == "__main__":
    sys.exit(main())
