"""A domain folder that is wrong says where and why."""

import shutil
from pathlib import Path

import pytest

from pop_selfplay.domains import BUILT_IN, load_domain
from pop_selfplay.errors import DomainError


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("domain.yaml", b"- a\n", "must be a mapping"),
        ("domain.yaml", b"", "must be a mapping"),
        ("domain.yaml", b"description: [\n", "not valid YAML"),
        ("domain.yaml", b"description: \xff\n", "not UTF-8"),
        ("domain.yaml", b"description: a\nbocksed: true\n", "bocksed: there is no such setting; did you mean boxed"),
        ("solve.md", b"<!-- user -->\n\xff\n", "not UTF-8"),
        ("solve.md", b"{{problem}}\n", "one '<!-- user -->' part"),
        ("solve.md", b"<!-- user -->\n{{document}}\n", "it may use"),
    ],
)
def test_a_wrong_file_is_named_with_its_fault(file: str, content: bytes, words: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(BUILT_IN / "math", folder)
    (folder / file).write_bytes(content)
    with pytest.raises(DomainError, match=words) as caught:
        load_domain(str(folder))
    assert str(folder / file) in str(caught.value)
