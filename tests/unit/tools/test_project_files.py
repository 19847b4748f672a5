"""The files around the code: actions pinned by commit, commands that exist, images without root, one version everywhere."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import pop_selfplay
from pop_selfplay.extras import EXTRAS

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_commit_and_every_job_has_few_rights_and_an_end(path: Path) -> None:
    flow = read(path)
    assert flow["permissions"] == {"contents": "read"}
    for job in flow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step.get("uses", f"a@{'0' * 40}")), step
            assert set(re.findall(r"(?<!\S)(?!make|\w+=)([a-z][\w-]+)(?=\s|$)", step.get("run", ""))) <= TARGETS, step


def test_images_have_both_targets_and_end_without_root() -> None:
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    names = {stage.split("\n")[0].rpartition(" ")[2]: stage for stage in stages}
    assert {"cpu", "cuda"} <= names.keys()
    assert all(re.findall(r"^USER (\S+)", names[name], re.MULTILINE)[-1] == "1000" for name in ("cpu", "cuda"))


def test_the_version_of_the_citation_is_the_packages() -> None:
    assert read(ROOT / "CITATION.cff")["version"] == pop_selfplay.__version__


def test_every_extra_is_documented() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ", (ROOT / "docs/install.md").read_text(encoding="utf-8"), re.MULTILINE)
    named = re.findall(r"`(\w+)`", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {*EXTRAS, "all"} <= set(rows) & set(named)
