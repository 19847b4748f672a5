"""The Python interface: what the commands do, as functions."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Literal

from pop_selfplay.config import ModelConfig, RunConfig
from pop_selfplay.errors import UsageError
from pop_selfplay.evaluation.audit import limits_with
from pop_selfplay.evaluation.audit.audit import audit_run
from pop_selfplay.evaluation.audit.sample import SAMPLE, Options, modes_of
from pop_selfplay.evaluation.duel.duel import Duel, Questions, problems_of_run, read_prompts, some_of
from pop_selfplay.evaluation.duel.play import duel_in
from pop_selfplay.evaluation.evaluate import EVALUATION, evaluate_in
from pop_selfplay.evaluation.measure import comparison
from pop_selfplay.evaluation.rejudge import RESULT as REJUDGED
from pop_selfplay.evaluation.rejudge import Different, compare, judge_again, planned, reopen, rounds_of
from pop_selfplay.evaluation.specs import EvalSpec, ModelSpec, find_model, load_suite, named_model, start_of_run, with_examples
from pop_selfplay.exports import export_run
from pop_selfplay.journal.files import write_atomically
from pop_selfplay.observer import Observer, Unwatched
from pop_selfplay.plan import Plan
from pop_selfplay.report.page import write_outcome
from pop_selfplay.report.result import refresh_page, write_result
from pop_selfplay.results import AuditResult, DuelResult, EvalResult, RejudgeResult, RunResult
from pop_selfplay.runs.session import open_session
from pop_selfplay.selfplay import pair, play_rounds


def run(
    config: RunConfig,
    out: str | PathLike[str],
    observer: Observer | None = None,
    *,
    fork_from: str | PathLike[str] | None = None,
) -> RunResult:
    """Play a whole run in the directory `out` and return its result, the content of result.json (docs/run-directory.md).

    Called again on the same directory it goes on where the last call stopped. With `fork_from`, the directory of another run,
    every model call that is the very same in both is taken over from there. `observer` hears of phases, counts and steps.

    Raises ConfigError when `out` holds a run of another config, CorpusError and DomainError for what the config names,
    ModelRefused for a model that cannot be had, JournalError for a directory that cannot be written. TrainingError ends a run
    without a model; Stopped, ModelUnavailable and JournalStopped end it for now: the same call goes on.
    """
    with open_session(Path(out), config, observer, fork_from=None if fork_from is None else Path(fork_from)) as session:
        return play_rounds(session)


def audit(
    directory: str | PathLike[str],
    *,
    judge: str | ModelConfig | None = None,
    sample: int = SAMPLE,
    round: int = 0,
    modes: Sequence[str] = (),
    against: str | PathLike[str] | None = None,
    play: bool = True,
    thresholds: Sequence[str] = (),
    observer: Observer | None = None,
) -> AuditResult:
    """Audit a run and return the content of audit.json, which is written there; an existing report.html also gets a section.

    `judge` is a second judge, named as on the command line or a config; `sample` how many problems are played again, at least
    4; `round` the round, 0 for the last one with scores; `modes` other ways of scoring to compare; `against` another run on the
    same documents; without `play` no model is called; `thresholds` are limits as "bias.flips=0.2". docs/audit.md explains the
    figures. Raises UsageError for options that make no sense or a run without scores, ConfigError when `directory` or `against`
    is no run, JournalError while another audit of it is going on, and the errors of the models that are asked.
    """
    name, second = _judge(judge)
    options = Options(
        sample=sample,
        round=round,
        judge=second,
        judge_name=name,
        modes=modes_of(modes),
        against=None if against is None else Path(against),
        play=play,
        limits=limits_with(thresholds),
    )
    result = audit_run(Path(directory), options, observer)
    refresh_page(Path(directory))
    return result


def rejudge(
    directory: str | PathLike[str],
    out: str | PathLike[str],
    *,
    judge: str | ModelConfig | None = None,
    prompt: str | PathLike[str] | None = None,
    mode: str = "",
    observer: Observer | None = None,
) -> RejudgeResult:
    """Score the answers of a run again into the run directory `out`, and return the content of rejudge.json, written there.

    At least one thing must be different: the `judge`, named as on the command line or a config; its `prompt`, a file that
    stands in for the domain's of the same name, or else for the mode's first one; the scoring `mode`. Only the judge is asked:
    problems, answers and rubrics are those of the run, which stays as it is. Called again it does what is left.

    Raises UsageError for what makes no sense, ConfigError where `out` holds another run, DomainError for the prompt, and the
    errors of the judge.
    """
    different = _different(judge, prompt, mode)
    with reopen(Path(directory), Path(out), different, observer or Unwatched()) as (source, session):
        judge_again(source, session)
        for round_ in rounds_of(source):
            pair(session, round_)
        write_result(session, comparison(session))
        result = compare(source, session, different)
        write_atomically(session.directory.path / REJUDGED, result.to_json())
    return result


def plan_rejudge(
    directory: str | PathLike[str],
    out: str | PathLike[str],
    *,
    judge: str | ModelConfig | None = None,
    prompt: str | PathLike[str] | None = None,
    mode: str = "",
) -> Plan:
    """Return what `rejudge` with the same arguments would still take. Nothing is written, and no model is asked."""
    return planned(Path(directory), Path(out), _different(judge, prompt, mode))


def _different(judge: str | ModelConfig | None, prompt: str | PathLike[str] | None, mode: str) -> Different:
    name, model = _judge(judge)
    return Different(judge=model, judge_name=name, prompt=None if prompt is None else Path(prompt), mode=mode)


def _judge(judge: str | ModelConfig | None) -> tuple[str, ModelConfig | None]:
    """Return what people call a judge that is named or given as a config, and its config."""
    return named_model(judge) if isinstance(judge, str) else (f"a model of type {judge.type}" if judge else "", judge)


def evaluate(
    model: str,
    *,
    against: str | None = None,
    suite: str = "reasoning",
    judge: str | None = None,
    data_dir: str | PathLike[str] | None = None,
    limit: int | None = None,
    few_shot: int | None = None,
    out: str | PathLike[str] | None = None,
    seed: int = 42,
    tell: Callable[[str], None] = lambda line: None,
) -> EvalResult:
    """Run a suite of benchmarks on `model`, paired with `against`, and return the content of eval.json.

    Models are named as on the command line (docs/evaluation.md). `suite` is a suite, a benchmark or a YAML file; `data_dir`
    holds local data instead of the hub's; `limit` is how many items of each benchmark are asked, drawn by `seed`, all by
    default; `few_shot` is how many worked examples stand before each question, in the benchmarks that have them; `out` is the
    directory for logs and figures, of a run its evaluation/ by default, else evaluations/<suite>.

    Where `model` is a run directory, `against` is by default the model that the run started from, and the run's report gets a
    section. Called again it does what is left. Raises UsageError or ConfigError for what makes no sense, before anything is
    asked, and the errors of the models. `tell` hears what begins and how far it is.
    """
    run = Path(model) if _is_run(model) else None
    start = start_of_run(run) if run is not None else None
    plan = EvalSpec(
        suite=suite,
        choices=load_suite(suite) if few_shot is None else with_examples(load_suite(suite), few_shot),
        model=find_model(model),
        against=start if against is None else find_model(against),
        judge=None if judge is None else find_model(judge),
        data_dir=None if data_dir is None else Path(data_dir),
        limit=limit,
        seed=seed,
    )
    if plan.against is not None and plan.model.identity == plan.against.identity:
        raise UsageError(_same(plan.model, plan.against, run))
    place = evaluation_place(model, suite) if out is None else Path(out)
    result = evaluate_in(place, plan, tell)
    write_outcome(place, result)
    if run is not None and out is None:
        refresh_page(run)
    return result


def _same(a: ModelSpec, b: ModelSpec, run: Path | None = None) -> str:
    if run is not None and b.identity == start_of_run(run).identity:
        return (
            f"no round of {run} made a better model than the one it started from, by what was measured so far, so that {run} "
            f"stands for {run}#0: name the model of a round, as {run}#1"
        )
    return f"{a.label} and {b.label} are the same model: name another one (where a model is served makes it no other one)"


def _is_run(name: str) -> bool:
    return (Path(name) / "config.yaml").is_file()


def evaluation_place(model: str, suite: str) -> Path:
    """Return where an evaluation goes by default: into the run, where the model is a run's."""
    run = Path(model)
    return run / EVALUATION if (run / "config.yaml").is_file() else Path("evaluations") / Path(suite).stem


def duel(
    a: str,
    b: str,
    *,
    judge: str,
    prompts: str | PathLike[str] | None = None,
    run: str | PathLike[str] | None = None,
    round: int = 0,
    domain: str | None = None,
    samples: int = 1,
    temperature: float = 0.0,
    max_tokens: int | None = None,
    judge_max_tokens: int | None = None,
    constrain: Literal["auto", "none"] | None = None,
    limit: int | None = None,
    out: str | PathLike[str] = "duel",
    seed: int = 42,
    tell: Callable[[str], None] = lambda line: None,
) -> DuelResult:
    """Let two models answer the same prompts and a judge say which answers are better; return the content of duel.json.

    Models are named as on the command line (docs/evaluation.md). Asked is either a file of `prompts`, whose rubrics are judged
    by the prompts of `domain` (instruction_following by default), or the problems of a round of a `run`, 0 being the held-out
    ones; `limit` of them, drawn by `seed`. Each model writes `samples` answers to each, at most `max_tokens` long (6144),
    and the judge verdicts of at most `judge_max_tokens` (4096), decoded by their form where `constrain` is auto.

    Called again it makes only the calls that are left. `tell` hears now and then how far it is. Raises UsageError and
    ConfigError for arguments that make no sense, before anything is asked, and the errors of the models.
    """
    if samples > 1 and temperature == 0:
        raise UsageError(f"--samples {samples} of a greedy model would all be the same: set --temperature, to 0.7 say")
    told = {"domain": domain, "max-tokens": max_tokens, "judge-max-tokens": judge_max_tokens, "constrain": constrain}
    questions = _questions(prompts, run, round, told)
    plan = Duel(
        a=find_model(a),
        b=find_model(b),
        judge=find_model(judge),
        questions=some_of(questions, limit, seed),
        domain=domain or Duel.domain,
        samples=samples,
        temperature=temperature,
        max_tokens=max_tokens or Duel.max_tokens,
        judge_max_tokens=judge_max_tokens or Duel.judge_max_tokens,
        constrain=constrain or Duel.constrain,
        seed=seed,
    )
    if plan.a.identity == plan.b.identity:
        raise UsageError(_same(plan.a, plan.b, next((Path(name) for name in (a, b) if _is_run(name)), None)))
    result = duel_in(Path(out), plan, tell)
    write_outcome(Path(out), result)
    return result


def _questions(
    prompts: str | PathLike[str] | None, run: str | PathLike[str] | None, round_: int, told: Mapping[str, object]
) -> Questions:
    """Return what a duel asks; `told` are the options that only go with prompts, None where they are not given."""
    if (prompts is None) == (run is None):
        raise UsageError("a duel needs prompts: either --prompts FILE or --run RUN")
    if prompts is not None and round_:
        raise UsageError(f"--round {round_} needs a run, and --prompts {prompts} has no rounds: leave it out, or use --run")
    for option in (name for name, value in told.items() if run is not None and value is not None):
        given = f"--{option} {told[option]}"
        raise UsageError(f"{given} goes with --prompts; the config of the run {run} decides it with --run: leave it out")
    return problems_of_run(Path(run), round_) if run is not None else read_prompts(Path(prompts or ""))


def export(
    directory: str | PathLike[str], out: str | PathLike[str], format: str = "trl", *, push_to_hub: str | None = None
) -> int:
    """Write what a run made to `out` (.jsonl or .parquet) in the format of another trainer; return how many rows there are.

    `format` is trl or openai, which hold preference pairs, or grpo, verl or verifiers, which hold problems with their rubrics.
    Beside it lies its dataset card; with `push_to_hub`, owner/name, both are uploaded to that dataset repository of the hub.
    Of a run that was stopped, the finished episodes are written; of a damaged journal those that can still be read. Nothing is
    written to the run directory. Raises UsageError when no episode is finished or the format is unknown.
    """
    return export_run(Path(directory), Path(out), format, push_to_hub)
