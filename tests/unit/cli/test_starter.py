"""pop init writes a config that fits the texts and the server, and that runs as it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from pop_selfplay.cli import run
from pop_selfplay.config import RunConfig, load_config
from pop_selfplay.corpus import split_documents
from pop_selfplay.models.simulated.server import serving


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts(*words: int) -> None:
    """Write a text of so many words each, all different."""
    Path("texts").mkdir()
    for number, count in enumerate(words):
        text = " ".join(f"w{number}x{place}" for place in range(count))
        (Path("texts") / f"{number}.txt").write_text(text, encoding="utf-8")


def init(*arguments: str) -> RunConfig:
    assert run(["init", "pop.yaml", *arguments]) == 0
    return load_config("pop.yaml")


def served(*models: dict[str, object]) -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"data": list(models)})

    app = web.Application()
    app.add_routes([web.get("/v1/models", answer)])
    return app


def test_without_a_word_and_without_texts_the_numbers_are_the_methods(capsys: pytest.CaptureFixture[str]) -> None:
    config = init()
    assert (config.domain, config.synthesis.documents, config.measure) == (
        "instruction_following",
        4096,
        RunConfig.model_fields["measure"].default,
    )
    assert "texts/ is not there yet" in capsys.readouterr().out


def test_the_numbers_fit_the_texts_and_the_run_finds_enough_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    texts(*[120] * 40, *[3] * 5)
    config = init("--corpus", "texts/", "--model", "pocket", "--domain", "creative_writing")
    held_out, first = map(len, split_documents(config).rounds)
    assert (config.domain, held_out, first) == ("creative_writing", 5, 35)
    assert "45 texts, 40 of them usable; dropped: too_short 5" in capsys.readouterr().out
    assert "# 45 texts" in Path("pop.yaml").read_text(encoding="utf-8")


def test_a_corpus_of_short_texts_gets_a_limit_that_most_of_them_pass() -> None:
    texts(*range(20, 49), 120, 2)
    config = init("--corpus", "texts/")
    assert config.filter.min_words == 23
    assert sum(map(len, split_documents(config).rounds)) == 27


def test_texts_too_short_for_any_limit_among_longer_ones_are_dropped_as_such() -> None:
    texts(*[3] * 40, *[80] * 20)
    config = init("--corpus", "texts/")
    assert config.filter.min_words == 50 and sum(map(len, split_documents(config).rounds)) == 20


def test_every_glob_is_looked_at() -> None:
    texts(*[120] * 20)
    (name,) = {path.suffix for path in Path("texts").iterdir()}
    assert init("--corpus", f"texts/?{name}", "--corpus", f"texts/[0-9][0-9]{name}").synthesis.documents < 20


def test_texts_that_cannot_be_used_are_refused_with_the_fields_they_have(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [json.dumps({"body": " ".join(["word"] * 60) + str(number)}) for number in range(3)]
    Path("rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    assert run(["init", "pop.yaml", "--corpus", "rows.jsonl"]) == 2
    said = capsys.readouterr().err
    assert "among: body" in said and "--text-field" in said and not Path("pop.yaml").exists()
    assert init("--corpus", "rows.jsonl", "--text-field", "body").corpus.model_dump()["text_field"] == "body"


def test_a_server_is_asked_for_its_model_and_its_context() -> None:
    with serving(served({"id": "org/small", "max_model_len": 4096})) as address:
        config = init("--model", address)
    model = config.model.model_dump()
    assert (model["type"], model["model"], model["weights"]) == ("endpoint", "org/small", "org/small")
    assert config.synthesis.solver.max_tokens == config.synthesis.judge.max_tokens == 1024


def test_a_long_context_keeps_the_limits_and_a_model_without_weights_is_not_trained() -> None:
    with serving(served({"id": "gpt", "max_model_len": 131072})) as address:
        config = init("--model", address)
    assert config.synthesis.solver.max_tokens == 6144 and config.training.type == "none"


def test_a_server_of_several_models_is_not_guessed_at_and_one_that_is_down_needs_a_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(served({"id": "a"}, {"id": "b"})) as address:
        assert run(["init", "--model", address]) == 2
        assert f"--model '{address}#NAME'" in capsys.readouterr().err
        assert init("--model", f"{address}#b", "--weights", "org/b").model.model_dump()["weights"] == "org/b"
    assert run(["init", "other.yaml", "--model", address]) == 4
    assert run(["init", "other.yaml", "--model", f"{address}#org/b"]) == 0


def test_weights_go_with_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--model", "org/name", "--weights", "org/name"]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_whoever_sits_at_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["math", "", "simulated"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda question, default: next(answers) or default)
    config = init()
    assert (config.domain, config.model.type, config.training.type) == ("math", "simulated", "none")


def test_what_was_said_is_data_and_never_yaml() -> None:
    config = init("--corpus", "a: b/#c", "--model", "dir with 'quotes': x/")
    assert config.corpus.model_dump()["paths"] == ["a: b/#c"]
    assert config.model.model_dump()["path"] == "dir with 'quotes': x/"
    assert yaml.safe_load(Path("pop.yaml").read_text(encoding="utf-8"))["seed"] == 42


def test_a_file_that_is_there_stays(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pop.yaml").write_text("mine", encoding="utf-8")
    assert run(["init"]) == 2 and "exists already" in capsys.readouterr().err
    assert Path("pop.yaml").read_text(encoding="utf-8") == "mine"


def test_the_shell_completes_commands() -> None:
    words = {"_POP_COMPLETE": "complete_bash", "COMP_WORDS": "pop dock", "COMP_CWORD": "1"}
    code = "from pop_selfplay.cli import main; main()"
    said = {}
    for typed in ("doc", "nothing"):
        environment = {**os.environ, **words, "COMP_WORDS": f"pop {typed}"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
        said[typed] = done.stdout.split()
    assert said == {"doc": ["doctor"], "nothing": []}
