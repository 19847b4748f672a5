"""A release is only called ready when everything that names its version agrees and nothing is left to write down."""

from pathlib import Path

import pytest
from tools import release


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr("pop_selfplay.__version__", "1.2.3")
    (tmp_path / "CITATION.cff").write_text("title: pop\nversion: 1.2.3\n", encoding="utf-8")
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 1.2.3 - 2026-12-01\n\n- All.\n", encoding="utf-8"
    )
    return tmp_path


def test_whatever_names_another_version_is_named(root: Path) -> None:
    assert release.version_agrees("1.2.3") == "" and release.changelog_is_cut("1.2.3") == ""
    assert release.version_agrees("1.3.0") == "src/pop_selfplay/__init__.py has 1.2.3, CITATION.cff has 1.2.3"
    assert release.changelog_is_cut("1.3.0") == "CHANGELOG.md's newest section is '1.2.3 - 2026-12-01', not '1.3.0 - <date>'"


def test_changes_that_no_release_has_are_not_forgotten(root: Path) -> None:
    text = "# Changelog\n\n## Unreleased\n\n- One more.\n\n## 1.2.3 - 2026-12-01\n\n- All.\n"
    (root / "CHANGELOG.md").write_text(text, encoding="utf-8")
    assert release.changelog_is_cut("1.2.3") == "CHANGELOG.md still has changes under Unreleased"


@pytest.mark.parametrize("arguments", [[], ["v1.2.3"], ["1.2"], ["1.2.3", "now"]])
def test_a_version_is_three_numbers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(arguments) == 2 and "usage" in capsys.readouterr().err


def test_nothing_is_built_before_all_is_well(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(release, "CHECKS", (lambda version: f"{version} is not ready",))
    assert release.main(["1.2.3"]) == 1 and capsys.readouterr().err == "not ready: 1.2.3 is not ready\n"
