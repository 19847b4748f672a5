"""What all commands share: the app, the options they have in common, and how a run is played and resumed from a terminal."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pop_selfplay import __version__
from pop_selfplay.errors import BudgetSpent, PopError, Stopped, UsageError

if TYPE_CHECKING:
    from pop_selfplay.config import RunConfig
    from pop_selfplay.records import Shard

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pop {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="print the version and exit", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Rubric-based self-play on raw text: a language model makes its own post-training signal."""


MOST_SEED = 2**32 - 1
MOST = 1_000_000_000
"""No count on the command line goes beyond."""
Directory = Annotated[Path, typer.Argument(help="a run directory", metavar="DIR")]
ConfigOrRun = Annotated[Path, typer.Argument(help="a run config (YAML), or a run directory to resume", metavar="CONFIG|DIR")]
Out = Annotated[Path | None, typer.Option("--out", help="the run directory; by default runs/<config name>")]
ForkFrom = Annotated[
    Path | None, typer.Option("--fork-from", help="reuse every model call of this run that is unchanged", metavar="DIR")
]
ShardOf = Annotated[
    str | None,
    typer.Option("--shard", help="only this part of the documents, as 1/8; `pop merge` joins them", metavar="I/N"),
]
Runner = Annotated[str | None, typer.Option("--runner", help="local or ray: where episodes are played; as --set runner.type=…")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="override one setting", metavar="a.b=value")]


def load(named: Path, overrides: list[str] | None) -> "RunConfig":
    """Read a config file, or the config of a run directory."""
    from pop_selfplay.config import load_config

    if not named.exists():
        raise UsageError(f"there is no config file or run directory {named}: check the name; `pop init` writes a config")
    return load_config(named / "config.yaml" if named.is_dir() else named, overrides or ())


def with_runner(overrides: list[str] | None, runner: str | None) -> list[str] | None:
    """Return `overrides` with the type of the runner before them, where one is named."""
    return overrides if runner is None else [f"runner.type={runner}", *(overrides or ())]


def shard_of(text: str) -> "Shard":
    """Return the shard that `text` names, as 2/8. Raises UsageError where it names none."""
    from pop_selfplay.records import Shard

    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count) <= MOST):
        raise UsageError(f"--shard {text} names no shard: write 1/8 for the first of eight, 8/8 for the last")
    return Shard(int(number), int(count))


def play_named(
    named: Path,
    out: Path | None,
    overrides: list[str] | None,
    *,
    synthesis_only: bool = False,
    shard: "Shard | None" = None,
    fork_from: Path | None = None,
) -> None:
    """Play what the command line names: a config, in a new run directory, or an existing run directory, in place."""
    if not named.is_dir():
        config = load(named, overrides)
        name = named.stem if shard is None else f"{named.stem}-shard-{shard.number}-of-{shard.shards}"
        play(out or Path("runs") / name, config, synthesis_only=synthesis_only, shard=shard, fork_from=fork_from)
        return
    if out or fork_from:
        raise UsageError(
            f"{named} is a run directory and is resumed in place: use --out and --fork-from with a config file, "
            f"such as {named / 'config.yaml'}"
        )
    play(named, load(named, overrides) if overrides else None, synthesis_only=synthesis_only, shard=shard)


def play(
    directory: Path,
    config: "RunConfig | None",
    *,
    synthesis_only: bool = False,
    shard: "Shard | None" = None,
    fork_from: Path | None = None,
) -> None:
    from pop_selfplay.training import distributed

    if distributed.count() > 1:
        raise UsageError("a run is played by one process: start it without accelerate launch; only `pop train` runs under it")
    with resumable(directory, f"pop {'synth' if synthesis_only else 'run'} {quoted(directory)}"):
        from rich.console import Console

        from pop_selfplay.report.live import LiveView
        from pop_selfplay.report.tables import print_result
        from pop_selfplay.runs.session import open_session
        from pop_selfplay.selfplay import play_rounds, play_synthesis

        console = Console()
        with LiveView(console) as view, open_session(directory, config, view, fork_from=fork_from) as session:
            result = play_synthesis(session, shard) if synthesis_only else play_rounds(session)
        print_result(console, result, directory)


def print_plan(config: "RunConfig", like: Path | None, tokens_per_second: float | None) -> None:
    """Print what the synthesis of `config` would cost. Nothing is written and no model is called."""
    from rich.console import Console

    from pop_selfplay.config import prices_of
    from pop_selfplay.plan import make_plan, measured
    from pop_selfplay.records import Role
    from pop_selfplay.report.result import compute_result
    from pop_selfplay.report.tables import plan_table
    from pop_selfplay.runs.session import read_session

    earlier = None
    if like is not None:
        earlier = measured(read_session(like, lambda session: compute_result(session, {})), str(like))
    plan = make_plan(config, earlier, tokens_per_second)
    Console().print(plan_table(plan, any(prices_of(config.player(role)) for role in Role)))


@contextmanager
def resumable(directory: Path, command: str = "", raising: str | None = None) -> Iterator[None]:
    """Add the `command` that resumes the work to an interrupt or an error of exit code 4; "" means the same command.

    After a spent budget, `raising` (by default `command`) is named instead, with the limit to raise.
    """
    saved = f"everything finished is saved in {directory}; resume with"
    go_on = f"{saved}: {command}" if command else f"{saved} the same command"
    try:
        yield
    except KeyboardInterrupt:
        begun = any((directory / first).is_file() for first in ("config.yaml", "calls.db"))
        raise Stopped(f"on request; {go_on}" if begun else "on request, before anything was done") from None
    except BudgetSpent as error:
        error.add_note(f"{saved} a higher limit: {raising or command} --set {error.limit}=...")
        raise
    except PopError as error:
        if error.exit_code == Stopped.exit_code:
            error.add_note(go_on)
        raise


def writable(path: Path) -> Path:
    """Make the folder of a file that will be written, before work is done for it. Raises UsageError where it cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path.parent} ({error.strerror}): name another one") from error
    if path.is_dir():
        raise UsageError(f"{path} is a directory: name a file in it")
    return path


def quoted(path: Path) -> str:
    return shlex.quote(str(path))
