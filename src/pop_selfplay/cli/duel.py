"""`pop duel`: two models, the same prompts, and a judge."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pop_selfplay.cli.app import app
from pop_selfplay.cli.evaluate import AsJson, Seed, resumable_in
from pop_selfplay.errors import UsageError

if TYPE_CHECKING:
    from pop_selfplay.evaluation.duel.prompts import Questions


@app.command()
def duel(
    a: Annotated[str, typer.Argument(help="a directory, hub name, URL#MODEL, YAML file or run", metavar="A")],
    b: Annotated[str, typer.Argument(help="the other one", metavar="B")],
    judge: Annotated[str, typer.Option("--judge", help="the model that judges", metavar="MODEL")],
    prompts: Annotated[Path | None, typer.Option("--prompts", help="a file of prompts", metavar="FILE")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the held-out problems of a run", metavar="RUN")] = None,
    round_: Annotated[int, typer.Option("--round", min=0, help="of the run: the problems of this round; 0 is held out")] = 0,
    domain: Annotated[str, typer.Option("--domain", help="whose prompts judge by rubrics of a file")] = "instruction_following",
    samples: Annotated[int, typer.Option("--samples", min=1, help="answers of each model to each prompt")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="of the answers; 0 is greedy")] = 0.0,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="of an answer to a prompt of a file")] = 6144,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="so many prompts, drawn by the seed")] = None,
    out: Annotated[Path, typer.Option("--out", help="where journal, answers and figures go")] = Path("duel"),
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Let two models answer the same prompts and a judge say which answers are better."""
    import asyncio

    from rich.console import Console

    from pop_selfplay.evaluation.contestants import find_contestant
    from pop_selfplay.evaluation.duel.playing import Duel, play_duel
    from pop_selfplay.evaluation.duel.result import duel_result, fight_row
    from pop_selfplay.evaluation.workplace import open_workplace
    from pop_selfplay.journal.rundir import write_atomically
    from pop_selfplay.report.duel import duel_tables

    if samples > 1 and temperature == 0:
        raise UsageError(f"--samples {samples} of a greedy model would all be alike: set --temperature, 0.7 say")
    questions = _questions(prompts, run, round_, limit, seed)
    one, other, referee = (find_contestant(name) for name in (a, b, judge))
    plan = Duel(one, other, referee, questions, domain, samples, temperature, max_tokens, seed)
    with resumable_in(out), open_workplace(out) as place:
        fights = asyncio.run(play_duel(plan, place.journal))
        result = duel_result(plan, fights)
        lines = "".join(json.dumps(fight_row(fight), ensure_ascii=False) + "\n" for fight in fights)
        write_atomically(out / "items.jsonl", lines)
        write_atomically(out / "duel.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    console = Console(stderr=as_json)
    console.print(duel_tables(result))
    console.print(f"figures {out}/duel.json\nanswers {out}/items.jsonl", soft_wrap=True, highlight=False)
    if as_json:
        typer.echo(json.dumps(result, indent=1, ensure_ascii=False))


def _questions(prompts: Path | None, run: Path | None, round_: int, limit: int | None, seed: int) -> "Questions":
    import random
    from dataclasses import replace

    from pop_selfplay.evaluation.duel.prompts import problems_of_run, read_prompts

    if (prompts is None) == (run is None):
        raise UsageError("a duel needs prompts: either --prompts FILE or --run RUN")
    questions = read_prompts(prompts) if prompts is not None else problems_of_run(run or Path(), round_)
    if limit is None or limit >= len(questions.prompts):
        return questions
    chosen = sorted(random.Random(seed).sample(range(len(questions.prompts)), limit))
    return replace(questions, prompts=[questions.prompts[place] for place in chosen])
