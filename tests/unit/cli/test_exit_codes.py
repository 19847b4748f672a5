"""Every ending has its exit code: 0 done, 2 wrong usage or config, 4 stopped and resumable."""

import io
import re
import signal
import sys
from pathlib import Path

import pytest

from pop_selfplay import errors
from pop_selfplay.cli import main, run, starter


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "fly"),
        (["run"], "CONFIG|DIR"),
        (["quickstart", "--rounds", "0"], "rounds"),
        (["run", "missing.yaml"], "missing.yaml"),
        (["status", "."], "it has no config.yaml"),
        (["status", "a-file"], "it is a file"),
        (["pairs", "nowhere"], "there is no run directory nowhere"),
        (["synth", "nowhere", "--dry-run"], "no config file or run directory nowhere"),
        (["train", "nowhere", "--out", "model"], "there is no run directory nowhere"),
        (["export"], "(see `pop export --help`)"),
        (["export", ".", "--out", "pairs.jsonl"], "config.yaml"),
        (["export", ".", "--out", "a-file/pairs.jsonl"], "a-file"),
        (["init", "a-file/pop.yaml"], "a-file"),
        (["export", ".", "--out", "."], "is a directory"),
        (["simulate", "--stats", "a-file/stats.json"], "a-file"),
    ],
)
def test_wrong_usage_is_2_and_names_what_is_wrong(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("no folder", encoding="utf-8")
    assert run(arguments) == 2
    assert words in capfd.readouterr().err


def test_a_wrong_config_names_the_field_the_value_and_what_is_allowed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("domain: math\ncorpus: {type: files, paths: []}\nmodel: {type: simulated}\nseeds: 3\n", encoding="utf-8")
    assert run(["run", str(path), "--set", "synthesis.candidates=one"]) == 2
    said = capfd.readouterr().err
    for part in ("corpus.paths", "seeds", "synthesis.candidates", "'one'"):
        assert part in said


@pytest.mark.parametrize("override", ["candidates", "=3", "a..b=1", "seed=[1"])
def test_an_override_that_is_no_setting_is_refused(override: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("domain: math\n", encoding="utf-8")
    assert run(["run", str(tmp_path / "c.yaml"), "--set", override]) == 2
    assert "--set" in capfd.readouterr().err


def test_the_command_alone_shows_its_help_and_complains_of_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capfd.readouterr()
    assert "quickstart" in said.out and said.err == ""


def test_an_interrupt_is_4_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(starter, "play", interrupted)
    assert run(["quickstart"]) == 4
    assert "pop run" in capfd.readouterr().err


@pytest.mark.parametrize("command", ["run", "synth"])
def test_a_name_that_is_neither_a_config_nor_a_run_is_called_so(
    command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([command, str(tmp_path / "typo")]) == 2
    assert "no config file or run directory" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "but is nothing"),
        (b"- math\n", "but is a list"),
        (b"domain: \xff\n", "not UTF-8"),
        (b"domain: [\n", "not valid YAML"),
        (b"domain: math\ncorpus: {type: files, paths: texts}\nmodel: [a]\n", "corpus.paths: must be a list"),
    ],
)
def test_a_file_that_is_no_config_says_why(
    content: bytes, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_bytes(content)
    assert run(["run", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "run")]) == 2
    assert words in capfd.readouterr().err and not (tmp_path / "run").exists()


def test_the_help_lists_commands_in_the_order_of_their_use(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    listed = re.findall(r"^│ (\w+) ", capfd.readouterr().out, re.MULTILINE)
    assert listed[:4] == ["quickstart", "init", "doctor", "run"]


def test_init_writes_a_config_that_loads_and_never_overwrites(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from pop_selfplay.config import load_config

    path = tmp_path / "new" / "folder" / "pop.yaml"
    assert run(["init", str(path)]) == 0
    assert load_config(path).domain == "instruction_following"
    assert run(["init", str(path)]) == 2
    assert "exists already" in capfd.readouterr().err


def test_every_error_has_the_exit_code_that_its_tree_promises() -> None:
    tree = dict(re.findall(r"─ (\w+) +(\d)", errors.__doc__ or ""))
    assert len(tree) == 18
    for name, code in tree.items():
        assert getattr(errors, name).exit_code == int(code), name


def test_what_an_error_quotes_cannot_command_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "no\x1b[2Jwhere\u202e.yaml"]) == 2
    said = capfd.readouterr().err
    assert "no [2Jwhere .yaml: check the name" in said and said.endswith("\n")


def test_a_console_in_ascii_gets_replacements_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    console = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(sys, "argv", ["pop", "--help"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit):
        main()
    print("reading … 文字", file=console, flush=True)
    assert console.buffer.getvalue().endswith(b"reading ? ??\n")
