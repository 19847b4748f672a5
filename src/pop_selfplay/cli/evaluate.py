"""`pop eval`: public benchmarks, one model compared with another. `pop duel`: two models, the same prompts, and a judge.
`pop audit`: can the training signal of a run be trusted? `pop rejudge`: which pairs change with another judge?
`pop view` and `pop label`: look at a run, and say what you think of it.
"""

import contextlib
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pop_selfplay.cli.app import MOST, MOST_SEED, Directory, app, quoted, resumable
from pop_selfplay.errors import GateFailed, UsageError

if TYPE_CHECKING:
    from rich.console import Group

    from pop_selfplay.results.evaluation import DuelResult, EvalResult

Judge = Annotated[str | None, typer.Option("--judge", help="the judge, given like MODEL", metavar="MODEL")]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="random seed of sampling, subsets and resampling")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
FewShot = Annotated[
    int | None,
    typer.Option("--few-shot", min=0, max=MOST, help="worked examples before each question, where a benchmark has them"),
]
AnswerTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, max=MOST, help="with --prompts: limit of each answer", show_default="6144")
]
VerdictTokens = Annotated[
    int | None,
    typer.Option("--judge-max-tokens", min=1, max=MOST, help="with --prompts: limit of each verdict", show_default="4096"),
]
Constrain = Annotated[
    Literal["auto", "none"] | None,
    typer.Option("--constrain", help="with --prompts, auto: verdicts are decoded by their form", show_default="none"),
]
DuelDomain = Annotated[
    str | None,
    typer.Option(
        "--domain",
        help="with --prompts: domain whose judge prompts are used with rubrics",
        show_default="instruction_following",
    ),
]
EvalOut = Annotated[Path | None, typer.Option("--out", help="directory for logs and results; for a run, its evaluation/")]


class _Lines:
    """What a command says beside its JSON: to standard output, or, where that is for JSON, to standard error."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        self._as_json, self._console = as_json, Console(stderr=as_json)

    def tell(self, line: str) -> None:
        """Print a line that may quote a server or a file."""
        from rich.text import Text

        from pop_selfplay.report.tables import printable

        self._console.print(Text(printable(line)))

    def done(self, tables: "Group", places: str, result: "EvalResult | DuelResult") -> None:
        """Print the tables and where things lie, a path never broken into lines, and the result where JSON is wanted."""
        from rich.text import Text

        self._console.print(tables)
        self._console.print(Text(places), soft_wrap=True)
        if self._as_json:
            typer.echo(result.to_json(), nl=False)


@app.command(name="eval")
def evaluate(
    model: Annotated[
        str, typer.Argument(help="a directory, hub name, URL#MODEL, YAML file or run directory", metavar="MODEL|RUN")
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", help="the model to compare with; for a run, the model it started from", metavar="BASE"),
    ] = None,
    suite: Annotated[str, typer.Option("--suite", help="a suite, a benchmark, or a YAML file")] = "reasoning",
    judge: Judge = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="local data files instead of the hub's")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, max=MOST, help="items per benchmark, drawn by the seed")
    ] = None,
    few_shot: FewShot = None,
    out: EvalOut = None,
    fail_on_regression: Annotated[
        bool, typer.Option("--fail-on-regression", help="exit with 3 when a benchmark regressed: its whole interval is below 0")
    ] = False,
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model on public benchmarks, compared item by item with another model."""
    from pop_selfplay.api import evaluate as evaluate_model
    from pop_selfplay.api import evaluation_place
    from pop_selfplay.report.eval_tables import evaluation_tables

    if fail_on_regression and against is None and not (Path(model) / "config.yaml").is_file():
        raise UsageError("--fail-on-regression needs a model to compare with: name it with --against")
    place = out or evaluation_place(model, suite)
    console = _Lines(as_json)
    with resumable(place):
        result = evaluate_model(
            model,
            against=against,
            suite=suite,
            judge=judge,
            data_dir=data_dir,
            limit=limit,
            few_shot=few_shot,
            out=out,
            seed=seed,
            tell=console.tell,
        )
    console.done(evaluation_tables(result), f"figures {place}/eval.json\nlogs    inspect view --log-dir {place}/logs", result)
    if fail_on_regression and result.regressed:
        raise GateFailed(
            f"{', '.join(result.regressed)} regressed: the whole 95 % interval of the difference from {result.against} is "
            "below zero"
        )


@app.command()
def duel(
    a: Annotated[str, typer.Argument(help="a directory, hub name, URL#MODEL, YAML file or run", metavar="A")],
    b: Annotated[str, typer.Argument(help="the model to compare with", metavar="B")],
    judge: Annotated[str, typer.Option("--judge", help="the model that judges", metavar="MODEL")],
    prompts: Annotated[Path | None, typer.Option("--prompts", help="a file of prompts", metavar="FILE")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="the held-out problems of a run", metavar="RUN")] = None,
    round_: Annotated[
        int, typer.Option("--round", min=0, max=MOST, help="with --run: the problems of this round; 0: held-out ones")
    ] = 0,
    domain: DuelDomain = None,
    samples: Annotated[int, typer.Option("--samples", min=1, max=MOST, help="answers of each model to each prompt")] = 1,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=MOST, help="sampling temperature of the answers; 0 is greedy")
    ] = 0.0,
    max_tokens: AnswerTokens = None,
    judge_max_tokens: VerdictTokens = None,
    constrain: Constrain = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, max=MOST, help="number of prompts, drawn by the seed")] = None,
    out: Annotated[Path, typer.Option("--out", help="directory for journal, answers and results")] = Path("duel"),
    seed: Seed = 42,
    as_json: AsJson = False,
) -> None:
    """Have two models answer the same prompts and a judge decide which answers are better."""
    from pop_selfplay.api import duel as play
    from pop_selfplay.report.eval_tables import duel_tables

    console = _Lines(as_json)
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
            judge_max_tokens=judge_max_tokens,
            constrain=constrain,
            limit=limit,
            out=out,
            seed=seed,
            tell=console.tell,
        )
    console.done(duel_tables(result), f"figures {out}/duel.json\nanswers {out}/items.jsonl", result)


@app.command()
def audit(
    directory: Directory,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="a second judge: model.yaml, URL#MODEL, a directory or hub name", metavar="MODEL"),
    ] = None,
    sample: Annotated[int, typer.Option(min=4, max=MOST, help="number of problems to replay")] = 64,
    round_: Annotated[
        int, typer.Option("--round", min=0, max=MOST, help="the round to audit; 0: the last one with scores")
    ] = 0,
    modes: Annotated[str, typer.Option(help="other scoring modes to compare, separated by commas")] = "",
    against: Annotated[
        Path | None, typer.Option(help="another run on the same documents, to compare problems with", metavar="DIR")
    ] = None,
    no_play: Annotated[bool, typer.Option("--no-play", help="use only the journal: call no model")] = False,
    threshold: Annotated[
        list[str] | None, typer.Option("--threshold", help="change the limit of a figure", metavar="NAME=VALUE")
    ] = None,
    fail_on_warning: Annotated[bool, typer.Option("--fail-on-warning", help="exit with 3 when a figure warns")] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a run's training signal can be trusted: figures with intervals, what they mean, and warnings."""
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
        typer.echo(result.to_json(), nl=False)
    if fail_on_warning and result.warnings:
        raise GateFailed(f"{len(result.warnings)} figures crossed their limits: {', '.join(result.warnings)}")


@app.command()
def rejudge(
    directory: Directory,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="the new run directory; by default the run's name with -rejudged", metavar="DIR"),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", help="another judge: model.yaml, URL#MODEL, a directory or hub name", metavar="MODEL"),
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option("--prompt", help="another prompt for the judge, such as my/rate.md", metavar="FILE")
    ] = None,
    mode: Annotated[str, typer.Option("--mode", help="another way of scoring")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only print what it would take: calls, tokens, hours, cost")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score the answers of a run again by another judge, prompt or mode, into a new run, and show which pairs change."""
    from rich.console import Console

    from pop_selfplay import api
    from pop_selfplay.report.audit_tables import rejudge_tables
    from pop_selfplay.report.live import LiveView
    from pop_selfplay.report.tables import plan_table

    place = out or directory.with_name(f"{directory.resolve().name}-rejudged")
    console = Console(stderr=as_json)  # standard output is for JSON then
    if dry_run:
        plan = api.plan_rejudge(directory, place, judge=judge, prompt=prompt, mode=mode)
        console.print(plan_table(plan, priced=plan.money > 0))
        return
    with resumable(place, raising=f"pop run {quoted(place)}"), LiveView(console) as view:
        result = api.rejudge(directory, place, judge=judge, prompt=prompt, mode=mode, observer=view)
    console.print(rejudge_tables(result))
    typer.echo(f"run directory {place}\nfigures       {place / 'rejudge.json'}", err=as_json)
    if as_json:
        typer.echo(result.to_json(), nl=False)


Host = Annotated[str, typer.Option("--host", help="the address to listen on; beyond this machine a token is asked for")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="the port to listen on; 0 takes any that is free")]
Author = Annotated[str | None, typer.Option("--author", help="who labels; by default the name of the user")]


@app.command()
def view(
    directories: Annotated[
        list[Path], typer.Argument(help="run directories, or directories of pop eval and pop duel", metavar="DIR…")
    ],
    host: Host = "127.0.0.1",
    port: Port = 8321,
    author: Author = None,
) -> None:
    """Look at the episodes of runs in a browser, also while they go on. Nothing in a run changes but its labels."""
    _serve(directories, host, port, author, labelling=False)


@app.command()
def label(
    directory: Directory,
    host: Host = "127.0.0.1",
    port: Port = 8321,
    author: Author = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="add the labels of a CSV or JSON file, and stop there", metavar="FILE")
    ] = None,
) -> None:
    """Say what you think of a run's answers, before you see what its judge said. `pop audit` compares the two."""
    if import_ is None:
        _serve([directory], host, port, author, labelling=True)
        return
    from pop_selfplay import labels
    from pop_selfplay.labels import read_foreign
    from pop_selfplay.runs.session import read_session

    found = read_foreign(import_, author or _user())
    unknown = read_session(directory, lambda session: [x.episode for x in found if session.journal.round_of(x.episode) is None])
    if unknown:
        raise UsageError(f"{import_} labels {unknown[0]!r:.120}, which is no finished episode of {directory}: check the ids")
    typer.echo(f"{labels.add(directory, found):,} labels added to {directory / labels.FILE}")


def _serve(directories: list[Path], host: str, port: int, author: str | None, *, labelling: bool) -> None:
    """Open the viewer, and answer until it is interrupted."""
    from pop_selfplay.extras import need

    need("view", "the viewer")
    from pop_selfplay.viewer.app import Viewer
    from pop_selfplay.viewer.app import serve as answer

    viewer = Viewer(directories, author=author or _user(), label_first=labelling)
    with contextlib.suppress(KeyboardInterrupt):  # the way to leave it, and nothing is left undone
        answer(viewer, host, port, lambda address: typer.echo(f"{address}\nstop with Ctrl+C"))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "me"
