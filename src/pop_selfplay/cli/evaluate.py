"""`pop eval`: public benchmarks on a model, held against the one it came from."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pop_selfplay.cli.app import app, resumable
from pop_selfplay.errors import GateFailed, UsageError

Judge = Annotated[str | None, typer.Option("--judge", help="the model that judges, named like MODEL", metavar="MODEL")]
Seed = Annotated[int, typer.Option(help="decides samples, subsets and resamples")]
AsJson = Annotated[bool, typer.Option("--json", help="the figures as JSON")]


@app.command(name="eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(help="a directory, hub name, URL#MODEL, YAML file or run directory", metavar="MODEL|RUN")
    ],
    against: Annotated[
        str | None, typer.Option("--against", help="what it is held against; of a run: its start", metavar="BASE")
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="a suite, a benchmark, or a YAML file")] = "reasoning",
    judge: Judge = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="local data files instead of the hub's")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="items per benchmark, drawn by the seed")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="where logs and figures go; of a run: its evaluation/")] = None,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="exit code 3 when a benchmark falls beyond its interval")
    ] = False,
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Measure a model on public benchmarks, paired with the model it is held against."""
    from rich.console import Console
    from rich.text import Text

    from pop_selfplay.api import evaluate as evaluate_model
    from pop_selfplay.api import evaluation_place
    from pop_selfplay.report.evaluation import evaluation_tables
    from pop_selfplay.report.figures import printable

    if fail_on_regression and against is None and not (Path(model) / "config.yaml").is_file():
        raise UsageError("--fail-on-regression needs something to fall from: name it by --against")
    place = out or evaluation_place(model, suite)
    console = Console(stderr=as_json)  # standard output is for JSON then
    with resumable(place):
        result = evaluate_model(
            model,
            against=against,
            suite=suite,
            judge=judge,
            data_dir=data_dir,
            limit=limit,
            out=out,
            seed=seed,
            tell=lambda line: console.print(Text(printable(line))),
        )
    console.print(evaluation_tables(result))
    console.print(Text(f"figures {place}/eval.json\nlogs    inspect view --log-dir {place}/logs"), soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    if fail_on_regression and result["regressed"]:
        raise GateFailed(
            f"{', '.join(result['regressed'])} fell: the whole 95 % interval of the difference to "
            f"{result['against']} lies below zero"
        )
