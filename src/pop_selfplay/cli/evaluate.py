"""`pop eval`: public benchmarks on a model, held against the one it came from."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pop_selfplay.cli.app import app
from pop_selfplay.errors import GateFailed, PopError, Stopped, UsageError

if TYPE_CHECKING:
    from pop_selfplay.evaluation.evaluate import Plan

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
    from pop_selfplay.evaluation.contestants import find_contestant, start_of_run
    from pop_selfplay.evaluation.evaluate import Plan
    from pop_selfplay.evaluation.suites import load_suite

    run = Path(model) if (Path(model) / "config.yaml").is_file() and (Path(model) / "models").is_dir() else None
    plan = Plan(
        suite=suite,
        choices=load_suite(suite),
        model=find_contestant(model),
        against=find_contestant(against) if against is not None else start_of_run(run) if run is not None else None,
        judge=find_contestant(judge) if judge is not None else None,
        data_dir=data_dir,
        limit=limit,
        seed=seed,
    )
    if fail_on_regression and plan.against is None:
        raise UsageError("--fail-on-regression needs something to fall from: name it by --against")
    place = out or (run / "evaluation" if run is not None else Path("evaluations") / Path(suite).stem)
    result = _evaluated(plan, place, quiet=as_json)
    if run is not None and out is None:
        _into_the_report(run)
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    if fail_on_regression and result["regressed"]:
        raise GateFailed(
            f"{', '.join(result['regressed'])} fell: the whole 95 % interval of the difference to "
            f"{result['against']} lies below zero"
        )


@contextmanager
def resumable_in(out: Path) -> Iterator[None]:
    """Whatever stops this for now, an interrupt or an error of exit code 4, tells how to go on."""
    go_on = f"everything finished is saved in {out}; go on with the same command"
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"on request; {go_on}") from None
    except PopError as error:
        if error.exit_code == Stopped.exit_code:
            error.add_note(go_on)
        raise


def _evaluated(plan: "Plan", out: Path, *, quiet: bool) -> dict[str, Any]:
    """Run the plan in `out` and show its table: on standard error where `quiet`, since standard output is for JSON then."""
    import asyncio

    from rich.console import Console

    from pop_selfplay.evaluation.evaluate import evaluate as run_plan
    from pop_selfplay.evaluation.workplace import open_workplace
    from pop_selfplay.journal.rundir import write_atomically
    from pop_selfplay.report.evaluation import evaluation_tables

    console = Console(stderr=quiet)
    with resumable_in(out), open_workplace(out) as place:
        result = asyncio.run(run_plan(plan, place, lambda line: console.print(line, highlight=False)))
        write_atomically(place.path / "eval.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    console.print(evaluation_tables(result))
    console.print(f"figures {out}/eval.json\nlogs    inspect view --log-dir {out}/logs", soft_wrap=True, highlight=False)
    return result


def _into_the_report(run: Path) -> None:
    """Write the run's result and report again, which now hold the evaluation."""
    from pop_selfplay.evaluation.measure import comparison
    from pop_selfplay.journal import RunDirectory
    from pop_selfplay.report.result import write_result
    from pop_selfplay.session import read_session

    with RunDirectory.open(run):
        read_session(run, lambda session: write_result(session, comparison(session)))
