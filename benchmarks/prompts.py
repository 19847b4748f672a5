"""How well a real model follows the prompts of the domains: forms kept, echoes, problems, criteria, and the judge's accuracy.

    python benchmarks/prompts.py --model URL|DIR|simulated --name NAME [--label after] [--domain NAME ...] [--parts PART ...]
        [--minutes 25] [--documents 10] [--planted 4] [--candidates 4] [--constrain auto] [--set solver.max_tokens=900]
        [--work DIR]
    python benchmarks/prompts.py --report [--work DIR] [--json benchmarks/results/prompts.json]

asks the model at URL (a chat server, up to and including /v1) or in DIR (a transformers directory) by the prompts of this
checkout, about the texts of `data/prompt_documents.yaml`. What it is asked, and told, lies in a journal for each domain in
WORK/LABEL/NAME: a second call goes on where the first one stopped, and --minutes ends a call early, with all domains alike far.
Retries are two. Stories are of 120 words here, so that a small machine can play.

| part | asked |
| --- | --- |
| propose | the proposer about every text |
| solve | the solver about the planted problems, so many candidates each |
| rubric | the rubric writer about the planted problems, with three answers: right, half right, wrong |
| judge:MODE | the judge about these three answers by the planted rubric |
| episode | whole episodes: what the model proposed, its own answers, its own rubric, scored pointwise |

`--report` reads the journals and asks nobody. Shares have 95 % intervals clustered by text. What a planted answer deserves is
known: right above half right above wrong, a criterion's rating 2 where the fact is stated and 0 where it is not.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that the benchmarks find each other, wherever this is started

from benchmarks.prompts_report import report

from pop_selfplay.config import EndpointModel, LocalModel, ModelConfig, SimulatedModel, Synthesis
from pop_selfplay.domains import Domain, load_domain
from pop_selfplay.episode import play
from pop_selfplay.journal import Journal
from pop_selfplay.judging import find_mode
from pop_selfplay.method.echo import FixedText, fixed_text
from pop_selfplay.models import open_model
from pop_selfplay.records import Candidate, Criterion, Document, Problem, Role, Rubric
from pop_selfplay.stages.calls import Cast
from pop_selfplay.stages.judge import judge_of
from pop_selfplay.stages.propose import propose
from pop_selfplay.stages.solve import solve
from pop_selfplay.stages.write_rubric import write_rubric
from pop_selfplay.tasks import together

DATA: Final = Path(__file__).parent / "data" / "prompt_documents.yaml"
RESULT: Final = Path(__file__).parent / "results" / "prompts.json"
DOMAINS: Final = ("health_care", "creative_writing", "instruction_following", "knowledge", "math")
JUDGED: Final = ("pointwise", "per_criterion", "logprob", "pairwise", "anchor")
PARTS: Final = ("propose", "solve", "rubric", *(f"judge:{mode}" for mode in JUDGED), "episode")
SEED: Final = 11


@dataclass(frozen=True)
class Planted:
    """A problem about a text, with a rubric of two facts and answers of which it is known what they deserve."""

    problem: Problem
    rubric: Rubric
    answers: tuple[Candidate, ...]


@dataclass(frozen=True)
class Text:
    """A text of the benchmark, and what was planted on it, where anything was."""

    document: Document
    planted: Planted | None


def texts_of(domain: str) -> list[Text]:
    """Return the texts of a domain in their order."""
    entries = yaml.safe_load(DATA.read_text(encoding="utf-8"))[domain]
    return [_text(f"{domain}-{number}", entry) for number, entry in enumerate(entries)]


def _text(id_: str, entry: dict[str, Any]) -> Text:
    document = Document(id=id_, text=entry["text"])
    if "facts" not in entry:
        return Text(document, None)
    one, two = entry["facts"]
    right = f"{one['right']} {two['right']}"
    answers = (right, f"{one['right']} {two['wrong']}", f"{one['wrong']} {two['wrong']}")
    keys = ("name", "gold", "description")
    criteria = tuple(Criterion(weight=1, **{key: fact[key] for key in keys}) for fact in (one, two))
    return Text(
        document,
        Planted(
            Problem(id=id_, document_id=id_, text=entry["problem"], reference_answer=right),
            Rubric(criteria=criteria),
            tuple(Candidate(index=index, completion=text, answer=text) for index, text in enumerate(answers)),
        ),
    )


Work = Callable[[], Awaitable[object]]


def works(cast: Cast, name: str, part: str, texts: Sequence[Text]) -> Iterator[Work]:
    """Yield what is to be asked in one part about the texts of one domain, each as something to await."""
    for text in texts:
        id_ = f"{part}/{text.document.id}"
        if part == "propose":
            yield partial(propose, cast, text.document, 1, id_)
        elif part == "episode":
            yield partial(_episode, cast, text, id_)
        elif text.planted is not None:
            yield partial(_planted, cast, part, text.document, text.planted, id_)


async def _episode(cast: Cast, text: Text, id_: str) -> None:
    if id_ not in cast.journal.finished_episodes(1):
        cast.journal.record_episode(await play(cast, text.document, 1, id_))


async def _planted(cast: Cast, part: str, document: Document, planted: Planted, id_: str) -> object:
    problem = planted.problem.model_copy(update={"id": id_})
    if part == "solve":
        return await solve(cast, problem, 1)
    if part == "rubric":
        return await write_rubric(cast, document, problem, planted.answers[::-1], 1)
    mode = find_mode(part.removeprefix("judge:"))
    return await mode.score(judge_of(cast, problem, 1), problem, planted.rubric, planted.answers, planted.answers)


def synthesis(candidates: int, constrain: str, settings: Sequence[str] = ()) -> Synthesis:
    """Return the settings: the paper's temperatures, budgets for short texts, two retries, and what `settings` say of roles."""
    limits = {"proposer": 1000, "solver": 450, "rubric_writer": 700, "judge": 450}
    roles: dict[str, dict[str, object]] = {role: {"max_tokens": most, "attempts": 3} for role, most in limits.items()}
    for setting in settings:
        place, _, value = setting.partition("=")
        role, _, name = place.partition(".")
        roles.setdefault(role, {})[name] = yaml.safe_load(value)
    return Synthesis.model_validate({"candidates": candidates, "constrain": constrain, **roles})


class Unguarded(Domain):
    """A domain whose echoes are not refused, so that those of prompts from before the guard can be counted."""

    def fixed_text(self, role: Role) -> FixedText:
        return fixed_text(())


def domain_of(name: str, prompts: Path | None = None) -> Domain:
    """Return the domain with stories of a length that a small machine can write; from a folder in `prompts`, unguarded."""
    domain = load_domain(name) if prompts is None else Unguarded.model_validate(load_domain(str(prompts / name)).model_dump())
    if "answer_words" not in domain.values:
        return domain
    return domain.model_copy(update={"values": {**domain.values, "answer_words": "120"}})


def _model(args: argparse.Namespace) -> ModelConfig:
    if "://" in args.model:
        return EndpointModel(base_url=args.model, model=args.name, max_in_flight=args.at_once)
    return SimulatedModel() if args.model == "simulated" else LocalModel(path=args.model, batch_tokens=args.batch_tokens)


@asynccontextmanager
async def _open(args: argparse.Namespace) -> AsyncIterator[dict[str, Cast]]:
    """Yield domain → cast. All of them are played by one model."""
    folder = args.work / args.label / args.name
    folder.mkdir(parents=True, exist_ok=True)
    model = open_model(_model(args), name=args.name)
    async with AsyncExitStack() as opened:
        opened.push_async_callback(model.close)
        casts, asked_for = {}, synthesis(args.candidates, args.constrain, args.set)
        for name in args.domain or DOMAINS:
            domain = domain_of(name, args.prompts)
            (folder / f"{name}.json").write_text(domain.model_dump_json(), encoding="utf-8")
            journal = opened.enter_context(Journal.open(folder / f"{name}.db"))
            casts[name] = Cast(dict.fromkeys(Role, model), domain, asked_for, journal, SEED)
        yield casts


async def ask(args: argparse.Namespace) -> None:
    """Ask whatever is left, text by text, the parts of a text in their order, until the minutes are over."""
    ends = time.monotonic() + 60 * args.minutes
    async with _open(args) as casts:
        texts = {name: texts_of(name)[: args.documents] for name in casts}
        queue = [
            work
            for start in range(0, args.documents, args.block)
            for part in args.parts or PARTS
            for name, cast in casts.items()
            for work in works(cast, name, part, texts[name][start : min(start + args.block, _most(args, part))])
        ]
        waiting = iter(queue)
        done = 0

        async def worker() -> None:
            nonlocal done
            for work in waiting:
                if time.monotonic() > ends:
                    return
                await work()
                done += 1

        await together(worker() for _ in range(args.at_once))
    sys.stdout.write(f"{done} of {len(queue)} things are asked\n")


def _most(args: argparse.Namespace, part: str) -> int:
    most: int = args.documents if part in ("propose", "episode") else min(args.documents, args.planted)
    return most


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a server's address, up to and including /v1, or a model directory")
    parser.add_argument("--name", help="what the model is called in the results")
    parser.add_argument("--label", default="after", help="what the prompts are called in the results")
    parser.add_argument("--prompts", type=Path, help="a folder with a folder for each domain: other prompts, echoes pass")
    parser.add_argument("--domain", action="append", choices=DOMAINS)
    parser.add_argument("--parts", nargs="+", choices=PARTS)
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--planted", type=int, default=4)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--block", type=int, default=2, help="texts of a domain that a part is asked about in a row")
    parser.add_argument("--constrain", choices=("none", "auto"), default="none", help="auto: decode by grammars of the forms")
    parser.add_argument("--set", action="append", default=[], metavar="ROLE.NAME=VALUE", help="a setting of a role")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--batch-tokens", type=int, default=65536, help="of a model directory: most tokens of one batch")
    parser.add_argument("--work", type=Path, default=Path("prompts-bench"))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--json", type=Path, default=None, help="write the figures there")
    args = parser.parse_args(given)
    if not args.report and not (args.model and args.name):
        parser.error("--model and --name, or --report")
    return args


if __name__ == "__main__":
    asked = arguments()
    if asked.report:
        report(asked.work, asked.json)
    else:
        asyncio.run(ask(asked))
