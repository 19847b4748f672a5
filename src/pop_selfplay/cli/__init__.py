"""The command `pop`: parse the arguments, import the rest only then, and turn errors into exit codes.

Exit codes: 0 done, 1 our bug, 2 wrong usage or config, 3 no usable model or a failed gate, 4 stopped with work saved.

    app.py       what all commands share
    starter.py   pop quickstart, pop init and pop doctor: before the first run
    commands.py  the commands that make and use a run
    simulate.py  the simulated server
    evaluate.py  pop eval, pop duel, pop audit, pop rejudge, pop view, pop label

A new command is a function in one of these files, or in a file of its own that is imported below.
"""

import errno
import functools
import io
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.main import get_command

from pop_selfplay import tasks
from pop_selfplay.cli import starter  # first: `pop --help` lists commands in the order in which they are imported

# isort: split
from pop_selfplay.cli import commands

# isort: split
from pop_selfplay.cli import evaluate, simulate
from pop_selfplay.cli.app import app
from pop_selfplay.errors import PopError

__all__ = ["app", "commands", "evaluate", "main", "run", "simulate", "starter"]

_BAD_PLACES = {errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS}
"""What the file system says of a place that cannot be what the user meant; everything else it says is met where it is asked."""
_SHOWN = 200
_TYPERS_INTERRUPT = 130
_STOPPED = "stopped; everything a run had finished is saved, and `pop run DIR` resumes it"


def main() -> None:
    """Run the command line and leave with its exit code."""
    tasks.install(f"pop: {_STOPPED}\n")
    _print_what_can_be_printed()
    code = run(sys.argv[1:])
    tasks.leave()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; errors go to standard error. A bug's traceback passes through."""
    try:
        code = _command()(arguments, prog_name="pop", standalone_mode=False)
        if code == _TYPERS_INTERRUPT:
            return _complain(_STOPPED, 4)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return _complain(_STOPPED, 4)
    except typer.TyperException as error:
        context, message = getattr(error, "ctx", None), error.format_message()
        if not message:  # `pop` alone has printed its help
            return 2
        return _complain(f"{message} (see `{context.command_path if context else 'pop'} --help`)", 2)
    except PopError as error:
        said = [f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]
        return _complain("\n  ".join(said), error.exit_code)
    except ModuleNotFoundError as error:
        from pop_selfplay.extras import missing_extra

        missing = missing_extra(error)
        if missing is None:
            raise
        return _complain(f"{type(missing).__name__}: {missing}", missing.exit_code)
    except OSError as error:
        if error.errno not in _BAD_PLACES or error.filename is None:
            raise
        return _complain(f"{error.strerror}: {str(error.filename)[:_SHOWN]}; name another place, or make this one usable", 2)


@functools.cache
def _command() -> Callable[..., Any]:
    """Make the command of the functions' signatures once: that takes longer than most commands."""
    return get_command(app)


def _print_what_can_be_printed() -> None:
    """Let a terminal or file in ASCII or a code page show replacement characters instead of ending the run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in (None, "strict"):
            stream.reconfigure(errors="replace")


def _complain(message: str, code: int) -> int:
    """Print an error, which may quote a server or a file: line breaks are kept, other control characters are not."""
    from pop_selfplay.report.tables import printable

    sys.stderr.write("pop: " + "\n".join(map(printable, message.split("\n"))) + "\n")
    return code
