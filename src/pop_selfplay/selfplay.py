"""THE main loop: documents in, a measurably better model out.

    measure the starting model
    for each round:
        synthesise   document → problem → candidates → rubric → scores      (episode.py, stages/)
        pair         best against worst                                     (pairing.py)
        train        DPO, the reference model is the round's own start      (training/: a class per trainer)
        measure      the trained model on the same questions                (evaluation/)
        go on        only while it helps                                    (evaluation/rounds.py, method/stopping.py)

Every phase can be run again at any time: it takes up what the run directory already holds and does only the rest.

From the paper: one round, offline DPO from the starting model. Beyond it: several rounds, each on documents that no earlier
round used and from the model that the round before it trained, for as long as the config's stop rules let it go on. The best
round's model is the result.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from pop_selfplay.config import HuggingFaceCorpus, LocalModel, PocketModel, RayRunner, RunConfig, Training
from pop_selfplay.corpus import split_documents
from pop_selfplay.episode import ToPlay, play_all, unfinished
from pop_selfplay.errors import JournalError, NothingMade, TrainingError, UsageError
from pop_selfplay.evaluation.measure import comparison, measure
from pop_selfplay.evaluation.rounds import still_helps, stopped, worth_training
from pop_selfplay.extras import need
from pop_selfplay.journal.notes import SHARD, TRAINING
from pop_selfplay.journal.pairs import read_pairs, write_pairs
from pop_selfplay.models.identity import weights_of
from pop_selfplay.observer import Observer
from pop_selfplay.pairing import pairs_of
from pop_selfplay.plan import calls_per_episode
from pop_selfplay.records import Role, Shard
from pop_selfplay.report.result import Summaries, compute_result, write_result
from pop_selfplay.results.run import RunResult
from pop_selfplay.runs.lineage import note_lineage
from pop_selfplay.runs.session import Session, open_session
from pop_selfplay.scale.head import play_on_ray, take_in_published
from pop_selfplay.scale.shards import merge_shards, refuse_shard, store_shard
from pop_selfplay.stages.refusals import ask_again, last_words
from pop_selfplay.training import TRAINERS, pairs_of_round, trainer_of


def play_rounds(session: Session) -> RunResult:
    """Play the whole run to its end and return its result, which result.json then holds."""
    refuse_shard(session)
    need_extras(session.config, training=True)
    choose_documents(session)
    measure(session, 0)
    for round_ in range(1, session.config.rounds + 1):
        synthesise(session, round_)
        pair(session, round_)
        if not worth_training(session, round_):
            break
        train(session, round_)
        measure(session, round_)
        if not still_helps(session, round_):
            break
    session.observer.phase("report")
    return _not_empty(session, write_result(session, comparison(session)))


def play_synthesis(session: Session, shard: Shard | None = None) -> RunResult:
    """Only synthesise and pair the first round; `train` and `play_rounds` can continue from there.

    Of a run that is a `shard`, nothing is paired: which of two problems that nearly repeat each other gives a pair is not for
    a shard to say. All shards together are paired (scale/shards.py).
    """
    need_extras(session.config, training=False)
    choose_documents(session, shard)
    synthesise(session, 1)
    if SHARD.exists(session.journal):
        return compute_result(session, {})
    pair(session, 1)
    return _not_empty(session, write_result(session, comparison(session)))


def need_extras(config: RunConfig, *, training: bool) -> None:
    """Raise MissingExtra for what the run will need later, with or without its training, and this installation lacks."""
    if training and config.training.type in TRAINERS:  # first: what it needs includes what the others need
        need("train", f"training.type {config.training.type}")
    for model in map(config.player, Role):
        if isinstance(model, LocalModel | PocketModel):
            need("local", f"model.type {model.type}")
    if isinstance(config.runner, RayRunner):
        need("ray", "runner.type ray")
    if isinstance(config.corpus, HuggingFaceCorpus):
        need("hub", "corpus.type hugging_face")


def merge(directories: Sequence[Path], out: Path, observer: Observer | None = None) -> RunResult:
    """Make the run `out` of all shards of a run (scale/shards.py), with its pairs and figures so far."""
    merge_shards(directories, out)
    with open_session(out, observer=observer) as session:
        pair(session, 1)
        return write_result(session, comparison(session))


def choose_documents(session: Session, shard: Shard | None = None) -> None:
    """Choose the documents of every round, once, and fix them, or a `shard` of them, in the journal.

    Round 0 is held out for measurement. Raises UsageError when another shard was fixed, or all.
    """
    config, journal = session.config, session.journal
    kept = SHARD.read(journal)
    if kept is not None or journal.document_ids(1):
        if shard is not None and (kept is None or kept.shard != shard):
            held = "a whole run" if kept is None else f"shard {kept.shard}"
            raise UsageError(f"{session.directory.path} holds {held}: give shard {shard} a directory of its own with --out")
        return
    session.observer.phase("reading the corpus")
    rounds, dropped = split_documents(config)
    if shard is None:
        journal.store_documents(rounds, dropped)
    else:
        store_shard(journal, shard, rounds, dropped)


def synthesise(session: Session, round_: int) -> None:
    """Play every unfinished episode of the round, with the round's policy in all roles but the frozen ones."""
    on_ray = isinstance(session.config.runner, RayRunner)
    if on_ray:
        take_in_published(session, round_)
    again = frozenset[str]() if session.directory.model_path(round_).exists() else ask_again(session.journal, round_)
    todo = left_to_play(session, round_)
    calls = sum(calls_per_episode(session.config.synthesis, session.domain).values())
    session.observer.phase(f"round {round_}: synthesis", len(todo), calls * len(todo))
    if todo:
        policies = session.casting.policies(round_)
        note_lineage(session, str(round_), policies)
        with session.account.timed(f"{round_}/synthesis"):
            if on_ray:
                play_on_ray(session, todo, round_, again)
            else:
                with closing(Summaries(session, keep=True)) as kept:
                    work = partial(play_all, todo=todo, round_=round_, refused_before=again, see=kept.add)
                    session.casting.play(policies, work)


def left_to_play(session: Session, round_: int) -> list[ToPlay]:
    """Return every episode of the round that is not finished."""
    return unfinished(session.journal, session.config.synthesis.problems_per_document, round_)


def pair(session: Session, round_: int) -> int:
    """Write the preference pairs of all rounds up to `round_` to pairs.parquet and return how many there are."""
    session.observer.phase(f"round {round_}: pairs")
    return write_pairs(pairs_of(session.journal, session.domain, session.config, round_), session.directory.pairs_path)


def pair_again(session: Session, *, force: bool) -> int:
    """Do as `pair` for all rounds. Unless `force`, what is left of a damaged journal does not replace more pairs by fewer.

    Raises JournalError where it would.
    """
    path, rounds = session.directory.pairs_path, session.config.rounds
    if not force and session.journal.path != session.directory.journal_path and path.is_file():
        before = sum(1 for _ in read_pairs(path))
        now = sum(1 for _ in pairs_of(session.journal, session.domain, session.config, rounds))
        if now < before:
            raise JournalError(
                f"{path} holds {before:,} pairs, and what can be read of the damaged journal gives {now:,}: the file "
                "stays as it is; --force replaces it"
            )
    return pair(session, rounds)


def train(session: Session, round_: int) -> None:
    """Train the round's policy on what the round made, unless its model is already there or nothing is to be trained."""
    training, out = session.config.training, session.directory.model_path(round_)
    if out.exists() or not training.trains:
        return
    start = weights_of(session.casting.policy(round_))
    assert start is not None  # RunConfig refuses to train a model without weights
    if training.uses == "pairs" and not pairs_of_round(session, round_):
        raise TrainingError(_without_pairs(session, round_))
    with session.account.timed(f"{round_}/training"):
        trained = trainer_of(training).train_round(session, round_, start, out)
    TRAINING.write(session.journal, trained, round_)
    upload(training, out)


def upload(training: Training, model: Path) -> None:
    """Upload a finished model whose training is noted, where its settings want that. A hub that fails is a warning."""
    if training.repository is not None:
        from pop_selfplay.training.export import push  # torch, which not every installation has

        push(model, training.repository)


def _without_pairs(session: Session, round_: int) -> str:
    """Return why a round has no pairs: what most of its episodes were lost to, and what to do about that."""
    ended = {f"{stage}.{why}": n for (r, stage, why), n in session.journal.tally.episodes.items() if r == round_ and why and n}
    all_episodes = sum(n for (r, _, _), n in session.journal.tally.episodes.items() if r == round_)
    lost = sum(ended.values())
    said = f"there are no preference pairs to train on: {lost} of {all_episodes} episodes ended without scores"
    if 2 * lost < all_episodes or not lost:
        return (
            f"{said}, and the others gave no pair. Use more documents (synthesis.documents), or keep more pairs: lower "
            "pairing.min_std, raise pairing.max_word_difference; `pop status` shows what was dropped and why"
        )
    most = ", ".join(f"{why} {n}" for why, n in sorted(ended.items(), key=lambda item: -item[1])[:3])
    words = "".join(f"; the server's answer to the {role}: {said}" for role, said in last_words(session.journal).items())
    return f"{said} ({most}){words}. `pop status` shows why calls were refused"


_ADVICE: Final = {
    "cut_off": "raise synthesis.{role}.max_tokens",
    "unclosed_tag": "raise synthesis.{role}.max_tokens",
    "unclosed_reasoning": "raise synthesis.{role}.max_tokens, or set model.thinking.enabled to false",
    "only_reasoning": "start the server with the --reasoning-parser of the model",
    "refused": "change what the server names",
    "no_spread": "lower pairing.min_std, or raise synthesis.candidates",
    "identical": "raise synthesis.solver.temperature",
    "length_gap": "raise pairing.max_word_difference",
    "reference_below_median": "set pairing.reference_below_median to keep",
}
"""Reason of a loss → the setting to change. Other reasons of a role are a model's that does not keep to the form asked for."""


def _not_empty(session: Session, result: RunResult) -> RunResult:
    """Return `result`. Raises NothingMade where it holds nothing to train on although documents were played.

    That is a pair, or a scored answer for a training that works on problems.
    """
    scored, pairs = sum(round_.evaluations for round_ in result.rounds), sum(round_.pairs for round_ in result.rounds)
    if pairs or (scored and session.config.training.uses == "problems"):
        return result
    lost = Counter[str]()
    for round_ in result.rounds:
        lost.update({reason: count for reason, count in round_.dropped.items() if not reason.startswith("corpus.")})
    calls = {f"{role}.{why}": n for role, found in result.roles.items() for why, n in found.items()}
    failed = Counter({reason: n for reason, n in calls.items() if not reason.endswith((".valid", ".repaired"))})
    said = [", ".join(f"{reason} {count}" for reason, count in counts.most_common(3)) for counts in (lost, failed)]
    words = "".join(f"; the server's answer to the {role}: {said}" for role, said in result.refusals.items())
    advice = dict.fromkeys(_advice(reason) for reason, _ in lost.most_common(3) + failed.most_common(3))
    raise NothingMade(
        f"the run made no preference pairs, and {scored} scored answers. Lost: {said[0] or 'nothing'}; calls that failed: "
        f"{said[1] or 'none'}{words}. To change that, {'; or '.join(filter(None, advice)) or 'raise synthesis.documents'}. "
        f"`pop status {session.directory.path}` shows all reasons"
    )


def _advice(reason: str) -> str:
    """Return what to do about a reason, "" where it only follows from others."""
    stage, _, why = reason.partition(".")
    if why in _ADVICE:
        return _ADVICE[why].format(role=stage)
    return (
        "" if stage == "pair" or why.startswith("too_few") else f"play the {stage} by a model that keeps to its prompt's form"
    )


def next_to_train(session: Session) -> int:
    """Return the first round that has no model yet. Raises UsageError when there is none, or its synthesis is not finished."""
    path = session.directory.path
    refuse_shard(session)
    if not session.config.training.trains:
        fork = f"pop run {path}/config.yaml --fork-from {path} --out NEW --set training.type=dpo"
        raise UsageError(
            f"the config of {path} has training.type {session.config.training.type}: there is nothing to train. A fork trains "
            f"and reuses its calls: {fork} (and, for a served model, --set model.weights=DIR)"
        )
    _refuse_stopped(session)
    rounds = range(1, session.config.rounds + 1)
    round_ = next((r for r in rounds if not session.directory.model_path(r).exists()), None)
    if round_ is None:
        raise UsageError(f"every round of {path} is trained: the models are under models/")
    if left_to_play(session, round_) or not session.journal.document_ids(round_):
        raise UsageError(f"synthesis of round {round_} is not finished: continue with `pop run {path}`")
    if not worth_training(session, round_):
        _refuse_stopped(session)
    return round_


def _refuse_stopped(session: Session) -> None:
    """Raise UsageError where a rule has ended the run."""
    if stop := stopped(session):
        raise UsageError(f"{session.directory.path} has stopped after round {stop.round} by stop.{stop.rule}: {stop.says}")
