"""The command that audits a run."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pop_selfplay.cli.app import Directory, app, quoted, resumable
from pop_selfplay.cli.evaluate import AsJson
from pop_selfplay.errors import GateFailed


@app.command()
def audit(
    directory: Directory,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="a second judge: model.yaml, URL#MODEL, a directory or hub name", metavar="MODEL"),
    ] = None,
    sample: Annotated[int, typer.Option(min=4, help="problems that are played again")] = 64,
    round_: Annotated[int, typer.Option("--round", min=0, help="the round to audit; 0: the last one with scores")] = 0,
    modes: Annotated[str, typer.Option(help="other ways of scoring to compare, by commas")] = "",
    against: Annotated[
        Path | None, typer.Option(help="another run on the same documents, to compare the problems with", metavar="DIR")
    ] = None,
    no_play: Annotated[bool, typer.Option("--no-play", help="only what the journal tells: call no model")] = False,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", help="another limit for a figure", metavar="NAME=VALUE")
    ] = None,
    fail_on_warning: Annotated[bool, typer.Option("--fail-on-warning", help="exit with 3 when a figure warns")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask whether a run's signal can be trusted: figures with intervals, what they mean, and limits that warn."""
    from rich.console import Console

    from pop_selfplay.api import audit as audit_run
    from pop_selfplay.report.audit_tables import audit_tables
    from pop_selfplay.report.live import LiveView

    console = Console(stderr=as_json)  # standard output is for JSON then
    run = quoted(directory)
    going_on = resumable(directory, f"pop audit {run}, with the same options", raising=f"pop run {run}")
    with going_on, LiveView(console) as view:
        result = audit_run(
            directory,
            judge=judge,
            sample=sample,
            round=round_,
            modes=[mode.strip() for mode in modes.split(",") if mode.strip()],
            against=against,
            play=not no_play,
            thresholds=threshold or (),
            observer=view,
        )
    console.print(audit_tables(result))
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))
    if fail_on_warning and result["warnings"]:
        raise GateFailed(f"{len(result['warnings'])} figures are beyond their limits: {', '.join(result['warnings'])}")
