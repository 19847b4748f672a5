"""The commands about the embedded pocket model."""

from pathlib import Path
from typing import Annotated

import typer

from pop_selfplay.cli.app import app

pocket_app = typer.Typer(help="The embedded pocket model.", no_args_is_help=True)
app.add_typer(pocket_app, name="pocket")


@pocket_app.command("check")
def pocket_check(
    model: Annotated[Path | None, typer.Option(help="a model directory; default: the shipped one")] = None,
    cases: Annotated[int, typer.Option(min=1, help="fresh cases per gate")] = 300,
) -> None:
    """Measure the pocket model's quality gates on fresh cases; exit code 3 when one is missed."""
    from pop_selfplay.models import POCKET_WEIGHTS
    from pop_selfplay.pocket.check import check_and_print

    check_and_print(model or POCKET_WEIGHTS, cases)
