"""Where one begins: `pop quickstart`; `pop init`, a config that fits the texts; `pop doctor`: will it work here?

What a config needs to run is found out, not guessed: how many documents there are and how short they are, what the server
serves and how long its context is. The next setting of that kind is a field of `Fitted`, and a line in starter.yaml.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from pop_selfplay.cli.app import MOST_SEED, app, play, quoted, writable
from pop_selfplay.errors import CorpusError, GateFailed, PopError, UsageError

if TYPE_CHECKING:
    from pop_selfplay.config import DocumentFilter, FilesCorpus
    from pop_selfplay.doctor import Diagnosis

DOMAINS: Final = "health_care, creative_writing, instruction_following, math, knowledge, or the folder of your own"
MODEL: Final = "Qwen/Qwen2.5-7B-Instruct"
MOST_DOCUMENTS: Final = 4096
MOST_HELD_OUT: Final = 64
LEAST_WORDS: Final = 50
LEAST_CONTEXT: Final = 16_384
"""From this context on, the limits of the method fit as they are: answers of 6144 and rubrics of 8192 tokens, and a prompt."""


class Fitted(NamedTuple):
    """The numbers for one corpus, and what was found there, in words."""

    documents: int = MOST_DOCUMENTS
    held_out: int = MOST_HELD_OUT
    min_words: int = LEAST_WORDS
    found: str = "the corpus was not looked at"


@app.command()
def quickstart(
    out: Annotated[Path | None, typer.Option("--out", help="the run directory")] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="random seed of the run")] = 5,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="rounds of self-play")] = 1,
    no_document: Annotated[bool, typer.Option("--no-document", help="hide the documents: the paper's ablation")] = False,
) -> None:
    """Watch the embedded pocket model improve itself on raw documents, measured exactly, in a few minutes."""
    from pop_selfplay.pocket.quickstart import quickstart_config

    name = f"quickstart-seed{seed}" + ("-no-document" if no_document else "") + (f"-{rounds}rounds" if rounds > 1 else "")
    play(out or Path("runs") / name, quickstart_config(seed=seed, rounds=rounds, document=not no_document))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="the file to write")] = Path("pop.yaml"),
    domain: Annotated[str | None, typer.Option("--domain", help=f"what kind of task: {DOMAINS}")] = None,
    corpus: Annotated[
        list[str] | None, typer.Option("--corpus", help="a file, folder or glob with your text; repeatable")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="the model to improve: a directory, hub name, URL or URL#MODEL; or simulated"),
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", help="with a URL: the same model as a directory or hub name, to train it")
    ] = None,
    text_field: Annotated[str, typer.Option("--text-field", help="field or column that holds the text")] = "text",
) -> None:
    """Write a commented run config that fits your text. Asks for what no option says, where there is somebody to ask."""
    if path.exists():
        raise UsageError(f"{path} exists already: name another file or remove it")
    domain = domain or _asked(f"Domain ({DOMAINS})", "instruction_following")
    places = corpus or [_asked("Your text: a file, folder or glob", "texts/")]
    model = model or _asked("The model to improve: a directory, hub name or the URL of a server, up to /v1", MODEL)
    named, context = model_settings(model, weights)
    fitted = fit(places, text_field)
    writable(path).write_text(config_text(domain, places, text_field, named, context, fitted), encoding="utf-8")
    typer.echo(f"{fitted.found}\nwrote {path}; what next:")
    typer.echo(f"  pop doctor {quoted(path)}\n  pop synth {quoted(path)} --dry-run\n  pop run {quoted(path)}")


def _asked(question: str, default: str) -> str:
    """Return the answer of whoever sits there, the default where nobody does."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return default
    answer: str = typer.prompt(question, default=default)
    return answer.strip()


def model_settings(model: str, weights: str | None = None) -> tuple[dict[str, object], int | None]:
    """Return the `model` part of a config, and the context length where a server told it.

    A server that is named without its model is asked what it serves. Raises UsageError where that is not one model, and where
    weights are given for what has some already.
    """
    from pop_selfplay.models.endpoint.probe import served_models

    url, _, name = model.partition("#")
    if not url.startswith(("http://", "https://")):
        if weights is not None:
            raise UsageError(f"--weights {weights} goes with the URL of a server, and --model is {model}: leave it out")
        return ({"type": model} if model in ("pocket", "simulated") else {"type": "local", "path": model}), None
    try:
        served = served_models(url)
    except PopError:
        if not name:
            raise
        served = []
    if not name:
        if len(served) != 1:
            names = ", ".join(one.name for one in served[:10])
            raise UsageError(f"{url} serves {len(served)} models ({names}): name one, as in --model '{url}#NAME'")
        name = served[0].name
    context = next((one.context for one in served if one.name == name), None)
    trained = weights or (name if "/" in name else None)
    settings: dict[str, object] = {"type": "endpoint", "base_url": url, "model": name}
    return (settings if trained is None else {**settings, "weights": trained}), context


def fit(places: list[str], text_field: str = "text") -> Fitted:
    """Look at a corpus of files and return the numbers that fit it; the method's where it is not there yet.

    Raises CorpusError where it is there and holds nothing that can be used.
    """
    from pop_selfplay.config import DocumentFilter, FilesCorpus

    corpus = FilesCorpus(paths=places, text_field=text_field)
    if not any("://" in place or has_magic(place) or Path(place).expanduser().exists() for place in places):
        absent = f"{', '.join(places)} is not there yet, so the numbers are the method's"
        return Fitted(found=f"{absent}: with your text there, pop init finds some that fit it")
    try:
        return _fitted(corpus, DocumentFilter())
    except CorpusError as error:
        if not (shorter := _shorter(corpus)):
            error.add_note("nothing was written; --text-field names the field that holds the text, where that is wrong")
            raise
        return _fitted(corpus, DocumentFilter(min_words=shorter))


def _fitted(corpus: "FilesCorpus", filter: "DocumentFilter") -> Fitted:
    from pop_selfplay.corpus import choose, read_documents

    wanted = MOST_DOCUMENTS + MOST_HELD_OUT
    choice = choose(read_documents(corpus), seed=42, count=wanted, filter=filter)
    short = choice.dropped.get("too_short", 0)
    mostly_short = filter.min_words == LEAST_WORDS and short > choice.available and len(choice.documents) < wanted
    if mostly_short and (shorter := _shorter(corpus)) < LEAST_WORDS:
        return _fitted(corpus, filter.changed({"min_words": shorter}))  # that is what it is like
    usable = len(choice.documents)
    held_out = min(MOST_HELD_OUT, max(1, usable // 8)) if usable > 1 else 0
    lost = ", ".join(f"{reason} {count}" for reason, count in sorted(choice.dropped.items()))
    found = f"{choice.read:,} texts, {choice.available:,} of them usable" + (f"; dropped: {lost}" if lost else "")
    return Fitted(min(MOST_DOCUMENTS, usable - held_out), held_out, filter.min_words, found)


def _shorter(corpus: "FilesCorpus") -> int:
    """Return a limit of words that nine of ten texts pass, at least 8; 0 where there is no text of so many words."""
    from pop_selfplay.corpus import read_documents
    from pop_selfplay.records import Document
    from pop_selfplay.text.words import count_words

    words = sorted(count_words(entry.text) for entry in read_documents(corpus) if isinstance(entry, Document))
    enough = [count for count in words if count >= 8]
    return min(LEAST_WORDS, enough[len(enough) // 10]) if enough else 0


def config_text(
    domain: str, places: list[str], text_field: str, model: Mapping[str, object], context: int | None, fitted: Fitted
) -> str:
    """Return the config as commented YAML. Raises ConfigError where what was said makes no config."""
    from importlib.resources import files

    import yaml
    from jinja2 import Environment, StrictUndefined

    from pop_selfplay.config import parse_config

    def plain(value: object) -> str:
        return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).removesuffix("...\n").strip()

    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["plain"] = plain
    template = environment.from_string(files("pop_selfplay.cli").joinpath("starter.yaml").read_text(encoding="utf-8"))
    trains = model["type"] in ("local", "pocket") or "weights" in model
    small = None if context is None or context >= LEAST_CONTEXT else context
    text = template.render(
        domain=domain, places=places, text_field=text_field, model=model, trains=trains, context=small, fitted=fitted
    )
    parse_config(yaml.safe_load(text), "the config")
    return text


@app.command()
def doctor(
    what: Annotated[
        str | None,
        typer.Argument(help="also check this config, run or model (named as for pop eval)", metavar="CONFIG|RUN|MODEL"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the checks as JSON")] = False,
) -> None:
    """Check the installation, the machine, and whether a config or a model will work here. Exit code 3: there is a problem."""
    from pop_selfplay.doctor import look_at

    diagnosis = look_at(what)
    if as_json:
        typer.echo(json.dumps(asdict(diagnosis), indent=1, ensure_ascii=False))
    else:
        show(diagnosis)
    if diagnosis.problems:
        count = len(diagnosis.problems)
        raise GateFailed(f"{count} problem{'s' if count > 1 else ''}: {', '.join(diagnosis.problems)}")


def show(diagnosis: "Diagnosis") -> None:
    """Print the checks, a group after the other; what a server or a file said is printed on one line."""
    from rich.console import Console
    from rich.text import Text

    from pop_selfplay.report.tables import printable

    console, styles = Console(), {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
    group = ""
    for check in diagnosis.checks:
        if check.group != group:
            group = check.group
            console.print(Text(group, style="bold"))
        line = Text.assemble(
            "  ", (f"{check.status:<8}", styles[check.status]), f"{printable(check.name)}: {printable(check.found)}"
        )
        console.print(line, soft_wrap=True)
        if check.advice:
            console.print(Text(f"          → {printable(check.advice)}"), soft_wrap=True)
