"""`pop duel`: two models, the same prompts, and a judge."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pop_selfplay.cli.app import app, resumable
from pop_selfplay.cli.evaluate import AsJson, Seed


@app.command()
def duel(
    a: Annotated[str, typer.Argument(help="a directory, hub name, URL#MODEL, YAML file or run", metavar="A")],
    b: Annotated[str, typer.Argument(help="the other one", metavar="B")],
    judge: Annotated[str, typer.Option("--judge", help="the model that judges", metavar="MODEL")],
    prompts: Annotated[Path | None, typer.Option("--prompts", help="a file of prompts", metavar="FILE")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the held-out problems of a run", metavar="RUN")] = None,
    round_: Annotated[int, typer.Option("--round", min=0, help="of the run: the problems of this round; 0 is held out")] = 0,
    domain: Annotated[
        str | None,
        typer.Option("--domain", help="whose prompts judge by rubrics of a file", show_default="instruction_following"),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="answers of each model to each prompt")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="of the answers; 0 is greedy")] = 0.0,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="of an answer to a prompt of a file", show_default="6144")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="so many prompts, drawn by the seed")] = None,
    out: Annotated[Path, typer.Option("--out", help="where journal, answers and figures go")] = Path("duel"),
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Let two models answer the same prompts and a judge say which answers are better."""
    from rich.console import Console
    from rich.text import Text

    from pop_selfplay.api import duel as play
    from pop_selfplay.report.duel import duel_tables
    from pop_selfplay.report.figures import printable

    console = Console(stderr=as_json)  # standard output is for JSON then
    with resumable(out):
        result = play(
            a,
            b,
            judge=judge,
            prompts=prompts,
            run=run,
            round=round_,
            domain=domain,
            samples=samples,
            temperature=temperature,
            max_tokens=max_tokens,
            limit=limit,
            out=out,
            seed=seed,
            tell=lambda line: console.print(Text(printable(line))),
        )
    console.print(duel_tables(result))
    console.print(Text(f"figures {out}/duel.json\nanswers {out}/items.jsonl"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
