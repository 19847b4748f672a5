"""The commands of the docs are found, stood in for, run in order, and what is left out says why."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from tools import run_docs
from tools.run_docs import BLOCK, ELSEWHERE, Place, blocks, elsewhere, files, pages, play

PROGRAMS = ("pop ", "python ", "curl ", *(f"{program} " for program in ELSEWHERE))

PAGE = """# A page

<!-- file: said.txt -->
```yaml
said: Qwen/Qwen2.5-7B-Instruct
```

```bash
mkdir made
cat said.txt \\
  > made/copy.txt
pip install nothing
```

```
mkdir not-a-command
```

<!-- not run: it would never end -->
```bash
sleep 1000000
```

```bash
grep simulated made/copy.txt
false
ls made
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prompts = tmp_path / "src/pop_selfplay/domains/instruction_following"
    prompts.mkdir(parents=True)
    (prompts / "rate.md").write_text("Rate it.\n", encoding="utf-8")
    monkeypatch.setattr(run_docs, "ROOT", tmp_path)
    monkeypatch.setattr(Place, "serving", lambda *_: nullcontext())  # no server is needed
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path / "page.md"


def test_commands_of_a_page_run_in_one_folder_and_a_failure_does_not_hide_the_next_one(page: Path, tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "pop.yaml").write_text("domain: math\n", encoding="utf-8")
    outcomes = list(play(page, finished, tmp_path / "here"))
    assert [(outcome.place, outcome.failed) for outcome in outcomes] == [
        ("page.md:9", False),
        ("page.md:10", False),
        ("page.md:12", False),
        ("page.md:21", False),
        ("page.md:25", False),
        ("page.md:26", True),
        ("page.md:27", False),
    ]
    assert [bool(outcome.said) for outcome in outcomes] == [False, False, True, True, False, True, False]
    assert (tmp_path / "here" / "made" / "copy.txt").read_text(encoding="utf-8") == "said: simulated\n"
    assert outcomes[3].said == "it would never end" and "left with 1" in outcomes[5].said


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_block_that_begins_with_a_command_is_marked_as_commands(page: Path) -> None:
    found = [match for match in BLOCK.finditer(page.read_text(encoding="utf-8")) if match[3] == ""]
    assert [match[4] for match in found if match[4].startswith(PROGRAMS)] == []
    assert all(name.count("/") == 0 for name in files(page))


def test_there_are_commands_to_run_and_most_are() -> None:
    every = [(block, command) for page in pages() for block in blocks(page) for _, command in block.commands]
    run = [command for block, command in every if not block.reason and not elsewhere(command)]
    assert len(every) > 60 and len(run) > 0.6 * len(every)


def test_what_cannot_be_had_is_stood_in_for(tmp_path: Path) -> None:
    place = Place(tmp_path, 4321)
    for written, run in (
        ("pop view runs/mine", "pop view --port 0 runs/mine"),
        ("pop label runs/mine --import labels.csv", "pop label runs/mine --import labels.csv"),
        ("pop simulate --port 8000 --speedup 10", "pop simulate --port 4321 --speedup 10"),
        ("pop simulate --crash-after 9", "pop simulate --port 0 --crash-after 9"),
        ("pop synth pop.yaml --shard 8/8 --out shards/8", "pop synth pop.yaml --shard 2/2 --out shards/8"),
        ("pop init pop.yaml --corpus texts/ --model http://localhost:8000/v1", None),
        ("pop init pop.yaml --corpus texts/   # a config", "pop init pop.yaml --corpus texts/ --model simulated   # a config"),
        ("pop init pop.yaml   # a config", "pop init pop.yaml --model simulated   # a config"),
    ):
        assert place.stand_in(written) == (run or written.replace("8000", "4321"))
