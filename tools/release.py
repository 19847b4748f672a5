"""The dry run of a release: `python -m tools.release 0.3.0`, or `make release VERSION=0.3.0`.

It publishes nothing. It checks that everything that names the version agrees, builds wheel and sdist into dist/, lets twine
look at them, and says which commands make the release of it. A further check is a function in `CHECKS`.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pop_selfplay

ROOT: Final = Path(__file__).parents[1]
VERSION: Final = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")


def version_agrees(version: str) -> str:
    """Return what names another version than `version`, "" where nothing does."""
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    named = {"src/pop_selfplay/__init__.py": pop_selfplay.__version__, "CITATION.cff": citation[1] if citation else "none"}
    return ", ".join(f"{place} has {other}" for place, other in named.items() if other != version)


def changelog_is_cut(version: str) -> str:
    """Return what CHANGELOG.md lacks: a section of this version, first, with a date, and nothing left under Unreleased."""
    headings = re.split(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    sections = dict(zip(headings[::2], headings[1::2], strict=True))
    first = next((name for name in sections if name != "Unreleased"), "")
    if not re.fullmatch(rf"{re.escape(version)} - \d{{4}}-\d\d-\d\d", first):
        return f"CHANGELOG.md's newest section is {first!r}, not '{version} - <date>'"
    return "CHANGELOG.md still has changes under Unreleased" if sections.get("Unreleased", "").strip() else ""


def tree_is_clean(_: str) -> str:
    """Return what is not committed."""
    said = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return f"not committed: {', '.join(line[3:] for line in said.splitlines()[:10])}" if said else ""


CHECKS: Final[tuple[Callable[[str], str], ...]] = (version_agrees, changelog_is_cut, tree_is_clean)


def main(arguments: list[str]) -> int:
    """Check and build; return 0 where all is well."""
    if len(arguments) != 1 or not VERSION.fullmatch(arguments[0]):
        sys.stderr.write("usage: make release VERSION=1.2.3\n")
        return 2
    version = arguments[0]
    wrong = [said for check in CHECKS if (said := check(version))]
    if wrong:
        sys.stderr.write("".join(f"not ready: {line}\n" for line in wrong))
        return 1
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(ROOT)], check=True)
    built = sorted(map(str, dist.iterdir()))
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *built], check=True)
    sys.stdout.write(f"\nready. Nothing was published; to release it:\n  git tag v{version}\n  git push origin v{version}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
