"""The package and its command answer at once: nothing heavy is loaded before it is needed."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "trl", "datasets", "pyarrow", "numpy", "inspect_ai")


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_by("import pop_selfplay") & set(HEAVY)


def test_a_reward_without_a_local_judge_loads_no_torch() -> None:
    code = "import pop_selfplay as pop\npop.reward(judge={'type': 'simulated'}).close()"
    assert not loaded_by(code) & {"torch", "transformers", "trl", "datasets"}


def test_the_help_text_loads_nothing_heavy() -> None:
    assert not loaded_by("from pop_selfplay.cli import run\nassert run(['--help']) == 0") & set(HEAVY)
