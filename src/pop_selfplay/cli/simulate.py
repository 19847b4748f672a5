"""The command `pop simulate`: the shipped simulated server, to size a run and to see what happens when a server misbehaves."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pop_selfplay.cli.app import MOST, MOST_SEED, app, writable
from pop_selfplay.errors import UsageError

if TYPE_CHECKING:
    from pop_selfplay.config import SimulatedModel

_MACHINE = {"rich_help_panel": "The machine"}
_MODEL = {"rich_help_panel": "The model"}
_FAULTS = {"rich_help_panel": "Faults, all drawn from the seed"}
_SHARE = {"min": 0.0, "max": 1.0, **_FAULTS}

Host = Annotated[str, typer.Option(help="the address to listen on")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one")]
Name = Annotated[str, typer.Option("--model", help="the name the model is served under")]
Stats = Annotated[Path | None, typer.Option(help="write the statistics to this file at the end", metavar="FILE")]
Speedup = Annotated[
    float, typer.Option(min=0.01, max=MOST, help="times as fast as the machine; above 10, watch server_cpu_share")
]
StepMs = Annotated[float, typer.Option(min=0.001, max=MOST, help="time of a decoding step", **_MACHINE)]
SequenceMs = Annotated[float, typer.Option(min=0, max=MOST, help="additional time for each decoding sequence", **_MACHINE)]
Slots = Annotated[int, typer.Option(min=1, max=MOST, help="sequences decoded at once; the others wait", **_MACHINE)]
Prefill = Annotated[float, typer.Option(min=1, max=MOST, help="prompt tokens read per second", **_MACHINE)]
Chunk = Annotated[int, typer.Option(min=64, max=MOST, help="most tokens in one step", **_MACHINE)]
CacheBlocks = Annotated[int, typer.Option(min=0, max=MOST, help="prefix cache, in blocks of 16 tokens", **_MACHINE)]
Seed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="random seed of texts and faults", **_MODEL)]
Brief = Annotated[bool, typer.Option("--brief", help="short texts, for quick trials", **_MODEL)]
AnswerWords = Annotated[
    float | None, typer.Option(min=3, max=MOST, help="median words of an answer", show_default="280", **_MODEL)
]
ThinkingWords = Annotated[
    float | None, typer.Option(min=0, max=MOST, help="median words of its thinking", show_default="60", **_MODEL)
]
MalformedRate = Annotated[float, typer.Option(help="share of completions that do not parse", **_SHARE)]
Mistakes = Annotated[
    list[str] | None,
    typer.Option("--mistake", help="share with one mistake; repeatable", metavar="NAME=SHARE", **_FAULTS),
]
RunawayRate = Annotated[float, typer.Option(help="share of answers that never end", **_SHARE)]
ErrorRate = Annotated[float, typer.Option(help="share of requests answered with HTTP 500", **_SHARE)]
LimitRate = Annotated[float, typer.Option(help="share of requests answered with 429 and Retry-After", **_SHARE)]
RetryAfter = Annotated[int, typer.Option(min=0, max=MOST, help="the seconds that Retry-After asks for", **_FAULTS)]
DropRate = Annotated[float, typer.Option(help="share of connections that drop", **_SHARE)]
CrashAfter = Annotated[int | None, typer.Option(min=0, max=MOST, help="crash after this many requests", **_FAULTS)]


@app.command()
def simulate(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    name: Name = "simulated",
    stats: Stats = None,
    speedup: Speedup = 1.0,
    step_ms: StepMs = 20.0,
    sequence_ms: SequenceMs = 0.1,
    slots: Slots = 256,
    prefill: Prefill = 15000.0,
    chunk: Chunk = 2048,
    cache_blocks: CacheBlocks = 30_000,
    seed: Seed = 0,
    brief: Brief = False,
    answer_words: AnswerWords = None,
    thinking_words: ThinkingWords = None,
    malformed_rate: MalformedRate = 0.0,
    mistakes: Mistakes = None,
    runaway_rate: RunawayRate = 0.0,
    error_rate: ErrorRate = 0.0,
    limit_rate: LimitRate = 0.0,
    retry_after: RetryAfter = 1,
    drop_rate: DropRate = 0.0,
    crash_after: CrashAfter = None,
) -> None:
    """Serve a simulated model at the speed of a real server, to size a run or to test it against faults. Ctrl-C stops it."""
    import asyncio

    from pop_selfplay.models.simulated import SimulatedChatModel, lengths_of
    from pop_selfplay.models.simulated.server import HttpFaults, serve_until_interrupted, simulated_app
    from pop_selfplay.models.simulated.timed import TimedChatModel
    from pop_selfplay.models.simulated.timing import Machine

    if stats is not None:
        writable(stats)
    texts = "brief" if brief else "realistic"
    config = _config(seed, texts, malformed_rate, mistakes).changed({"runaway_rate": runaway_rate})
    lengths = lengths_of(config.lengths, answer=answer_words, thinking=thinking_words)
    machine = Machine(step_ms / 1000, sequence_ms / 1000, slots, prefill, chunk, cache_blocks)
    timed = TimedChatModel(SimulatedChatModel(config, name=name, lengths=lengths), machine, speedup=speedup)
    served = simulated_app(timed, faults=HttpFaults(seed, error_rate, limit_rate, retry_after, drop_rate, crash_after))
    what = f"model {name}, {speedup:g} times as fast"

    async def serve() -> dict[str, object]:
        await serve_until_interrupted(served, host, port, what, typer.echo)
        return timed.statistics()

    _tell(asyncio.run(serve()), stats)


def _config(seed: int, lengths: str, malformed_rate: float, mistakes: list[str] | None) -> "SimulatedModel":
    from pydantic import ValidationError

    from pop_selfplay.config import SimulatedModel, complaints

    given = {"seed": seed, "lengths": lengths, "malformed_rate": malformed_rate}
    try:
        return SimulatedModel.model_validate({**given, "mistakes": dict(map(_named_share, mistakes or ()))})
    except ValidationError as error:
        raise UsageError("--mistake: " + "; ".join(complaints(error, SimulatedModel))) from None


def _named_share(text: str) -> tuple[str, str]:
    name, equals, share = text.partition("=")
    if not equals:
        raise UsageError(f"--mistake {text!r}: give the mistake and its share, as in duplicate_names=0.1")
    return name, share


def _tell(statistics: dict[str, object], file: Path | None) -> None:
    typer.echo(
        "{completions} completions, {generated_tokens} tokens in {window_s:.0f} simulated seconds; "
        "{mean_running:.0f} sequences at once".format_map(statistics)
    )
    if file is not None:
        file.write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
