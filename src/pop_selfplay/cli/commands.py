"""The commands that make and use a run, one function each. Heavy imports stay inside, so that `pop --help` answers at once.

`pop schema`: the JSON schemas of what users and other programs read and write.

The published copies in docs/schemas/ are the output of this command. The next schema is a line in `schema_of`.
"""

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pop_selfplay.cli.app import (
    MOST,
    ConfigOrRun,
    Directory,
    ForkFrom,
    Out,
    Overrides,
    Runner,
    ShardOf,
    app,
    load,
    play_named,
    print_plan,
    quoted,
    resumable,
    shard_of,
    with_runner,
    writable,
)
from pop_selfplay.errors import PopError, UsageError

if TYPE_CHECKING:
    from pop_selfplay.report.live import LiveView


@app.command()
def run(
    config: ConfigOrRun,
    out: Out = None,
    set_: Overrides = None,
    runner: Runner = None,
    fork_from: ForkFrom = None,
) -> None:
    """Run everything: synthesis, pairs, training, measurement. Given a run directory, resume it."""
    play_named(config, out, with_runner(set_, runner), fork_from=fork_from)


@app.command()
def synth(
    config: ConfigOrRun,
    out: Out = None,
    set_: Overrides = None,
    fork_from: ForkFrom = None,
    runner: Runner = None,
    shard: ShardOf = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only print the plan: calls, tokens, hours, cost")] = False,
    like: Annotated[
        Path | None, typer.Option("--like", help="with --dry-run: take lengths and speed from this run", metavar="DIR")
    ] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option(min=1, max=MOST, help="with --dry-run: generated tokens per second of the server")
    ] = None,
) -> None:
    """Make preference pairs from documents, and stop there. Continue with `pop train` or `pop run` on the run directory."""
    if dry_run:
        if (out, fork_from, shard) != (None, None, None):
            raise UsageError("--dry-run makes no run and reads none: leave out --out, --fork-from and --shard")
        print_plan(load(config, set_), like, tokens_per_second)
        return
    if like is not None or tokens_per_second is not None:
        raise UsageError("--like and --tokens-per-second set the assumptions of a plan: use them with --dry-run")
    part = None if shard is None else shard_of(shard)
    play_named(config, out, with_runner(set_, runner), synthesis_only=True, shard=part, fork_from=fork_from)


@app.command()
def merge(
    directories: Annotated[list[Path], typer.Argument(help="the run directories of all shards", metavar="DIR...")],
    out: Annotated[Path, typer.Option("--out", help="the run directory to make")],
) -> None:
    """Make one run of all its shards, with their pairs. Continue with `pop run` or `pop train` on it."""
    from rich.console import Console

    from pop_selfplay import selfplay
    from pop_selfplay.report.tables import print_result

    print_result(Console(), selfplay.merge(directories, out), out)


@app.command()
def pairs(
    directory: Directory,
    force: Annotated[bool, typer.Option("--force", help="replace more pairs by fewer, where the journal is damaged")] = False,
) -> None:
    """Rebuild pairs.parquet from the scored candidates of a run."""
    from pop_selfplay import selfplay
    from pop_selfplay.journal import RunDirectory
    from pop_selfplay.runs.session import read_session

    with RunDirectory.open(directory) as run_directory:
        count = read_session(directory, lambda session: selfplay.pair_again(session, force=force))
    typer.echo(f"{count:,} pairs in {run_directory.pairs_path}")


@app.command()
def train(
    directory: Directory,
    out: Annotated[Path | None, typer.Option("--out", help="train another model on these pairs, into this directory")] = None,
    set_: Overrides = None,
    round_: Annotated[int, typer.Option("--round", min=1, max=MOST, help="with --out: use the pairs of this round")] = 1,
) -> None:
    """Train on the pairs of a run whose synthesis is finished. `accelerate launch` can start it in several processes.

    With --out the run is left as it is, and --set may change training.* and seed.
    """
    from rich.console import Console

    from pop_selfplay import selfplay
    from pop_selfplay.report.live import LiveView
    from pop_selfplay.runs.session import open_session
    from pop_selfplay.training import distributed

    if not distributed.is_first():
        train_along()
        return
    view = LiveView(Console())
    if out is not None:
        with distributed.leading(), view:
            train_another(directory, out, round_, set_, view)
        return
    if set_ or round_ > 1:
        raise UsageError(f"{directory} keeps its config: --set and --round need --out, the directory of another model")
    session_of_run = open_session(directory, observer=view)
    run = quoted(directory)
    going_on = resumable(directory, f"pop train {run}", raising=f"pop run {run}")
    with distributed.leading(), going_on, view, session_of_run as session:
        round_ = selfplay.next_to_train(session)
        selfplay.pair(session, round_)
        selfplay.train(session, round_)
    typer.echo(f"trained model in {session.directory.model_path(round_)}")


def train_another(directory: Path, out: Path, round_: int, overrides: list[str] | None, view: "LiveView") -> None:
    """Train outside of the run instead of in it."""
    from pop_selfplay.config import load_config
    from pop_selfplay.selfplay import upload
    from pop_selfplay.training import train_again

    view.phase(f"training {out}")
    train_again(directory, out, round_, overrides or (), view.training_step)
    upload(load_config(directory / "config.yaml", overrides or ()).training, out)
    typer.echo(f"trained model in {out}")


def train_along() -> None:
    """Be another process of a training; an error of all processes is reported by the first one."""
    from pop_selfplay.training import offline

    try:
        offline.train_along()
    except PopError as error:
        raise typer.Exit(error.exit_code) from error


@app.command()
def status(
    directory: Directory, as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False
) -> None:
    """Show how far a run is, what was kept, what was dropped and why. Safe while it runs."""
    from rich.console import Console

    from pop_selfplay.evaluation.measure import comparison
    from pop_selfplay.report.result import compute_result
    from pop_selfplay.report.tables import result_tables, status_line
    from pop_selfplay.runs.session import read_session

    headline = read_session(directory, status_line)
    if not as_json:
        typer.echo(headline)  # at once: the figures of a large run take a while
    result = read_session(directory, lambda session: compute_result(session, comparison(session)))
    if as_json:
        typer.echo(json.dumps({"standing": headline, **result.model_dump(mode="json")}, indent=1, ensure_ascii=False))
    else:
        Console().print(result_tables(result))


@app.command()
def export(
    directory: Directory,
    out: Annotated[Path, typer.Option("--out", help="the file to write: .jsonl or .parquet")],
    format_: Annotated[str, typer.Option("--format", help="trl, grpo, verl, verifiers, openai or labels")] = "trl",
    push_to_hub: Annotated[
        str | None, typer.Option("--push-to-hub", help="also upload it to this dataset repository", metavar="OWNER/NAME")
    ] = None,
) -> None:
    """Write the preference pairs of a run, or its problems and rubrics, for another trainer."""
    from pop_selfplay.api import export as export_run
    from pop_selfplay.exports import LABELS, card_path

    rows = export_run(directory, writable(out), format_, push_to_hub=push_to_hub)
    card = f", its dataset card in {card_path(out)}" if format_ != LABELS else ""
    typer.echo(f"{rows:,} rows in {out}{card}")
    if push_to_hub is not None:
        typer.echo(f"uploaded to {push_to_hub}")


class Described(enum.StrEnum):
    """The files that have a schema."""

    RESULT = "result"
    EVAL = "eval"
    AUDIT = "audit"
    DUEL = "duel"
    REJUDGE = "rejudge"
    CONFIG = "config"


@app.command()
def schema(
    of: Annotated[Described, typer.Argument(help="a result file (result stands for result.json), or a run config")],
) -> None:
    """Print the JSON schema (draft 2020-12) of a result file or of a run config."""
    typer.echo(schema_of(of), nl=False)


def schema_of(of: Described) -> str:
    """Return the JSON schema as text, with a description for each field."""
    from pydantic.json_schema import GenerateJsonSchema

    from pop_selfplay.config import RunConfig
    from pop_selfplay.results import RESULT_FILES

    if of is Described.CONFIG:
        found = RunConfig.model_json_schema()
    else:
        found = RESULT_FILES[of.value].model_json_schema(mode="serialization")
    return json.dumps({"$schema": GenerateJsonSchema.schema_dialect, **found}, indent=1, ensure_ascii=False) + "\n"
