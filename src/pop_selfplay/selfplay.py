"""THE main loop: documents in, a measurably better model out.

    measure the starting model
    for each round:
        synthesise   document → problem → candidates → rubric → scores      (episode.py, stages/)
        pair         best against worst                                     (core/pairing.py)
        train        DPO, the reference model is the round's own start      (training/)
    measure the trained model on the same questions

Every phase can be run again at any time: it takes up what the run directory already holds and does only the rest.

From the paper: one round, offline DPO from the starting model. Beyond it: several rounds, each on documents that no earlier
round used and from the model that the round before it trained.
"""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from pop_selfplay.config import DPOTraining, ExamMeasure, NoMeasure, NoTraining, SelfJudgedMeasure
from pop_selfplay.corpus import choose, read_documents
from pop_selfplay.episode import pair_of, play_all, unfinished
from pop_selfplay.errors import ConfigError
from pop_selfplay.evaluation import exam, self_judged
from pop_selfplay.evaluation.self_judged import HELD_OUT_ROUND
from pop_selfplay.journal.export import read_pairs, write_pairs
from pop_selfplay.records import Document, PreferencePair, Role
from pop_selfplay.report.result import write_result
from pop_selfplay.session import Session, weights_of


def play_rounds(session: Session) -> dict[str, Any]:
    """Play the whole run to its end and return its result, which result.json then holds."""
    measure(session, 0)
    for round_ in range(1, session.config.rounds + 1):
        synthesise(session, round_)
        pair(session, round_)
        if not isinstance(session.config.training, NoTraining):
            train(session, round_)
            measure(session, round_)
    session.observer.phase("report")
    return write_result(session, comparison(session))


def synthesise(session: Session, round_: int) -> None:
    """Play every unfinished episode of the round, with the round's policy in all roles."""
    documents = documents_of(session, round_)
    todo = list(unfinished(session.journal, documents, session.config.synthesis.problems_per_document, round_))
    session.observer.phase(f"round {round_}: synthesis", len(todo))
    if todo:
        with session.timed(f"{round_}/synthesis"):
            session.play(dict.fromkeys(Role, round_), lambda cast: play_all(cast, todo, round_))


def documents_of(session: Session, round_: int) -> list[Document]:
    """Return the round's documents, chosen and fixed in the journal when first asked for. Round 0 is held out from training."""
    stored = session.journal.documents(round_)
    if stored:
        return stored
    config = session.config
    held_out = config.measure.documents if isinstance(config.measure, SelfJudgedMeasure) else 0
    count, skip = (held_out, 0) if round_ == HELD_OUT_ROUND else (config.synthesis.documents, held_out)
    skip += max(0, round_ - 1) * config.synthesis.documents
    session.observer.phase("reading the corpus")
    choice = choose(read_documents(config.corpus), seed=config.seed, count=count, filter=config.filter, skip=skip)
    session.journal.store_documents(round_, choice.documents, dict(choice.dropped))
    return list(choice.documents)


def pair(session: Session, round_: int) -> None:
    """Write the preference pairs of all rounds up to `round_` to pairs.parquet."""

    def pairs() -> Iterator[PreferencePair]:
        for number in range(1, round_ + 1):
            for episode in session.journal.episodes(number):
                made = pair_of(episode, session.domain, session.config.pairing, session.config.seed)
                if isinstance(made, PreferencePair):
                    yield made

    session.observer.phase(f"round {round_}: pairs")
    write_pairs(pairs(), session.directory.pairs_path)


def train(session: Session, round_: int) -> None:
    """Train the round's policy on the round's pairs, unless the finished model is already there."""
    from pop_selfplay.training.dpo import train_dpo  # loads torch, which only this phase may need

    training, out = session.config.training, session.directory.model_path(round_)
    if out.exists() or not isinstance(training, DPOTraining):
        return
    start = weights_of(session.policy(round_))
    if start is None:
        raise ConfigError("the model of this run has no weights to train: set model.weights or training.type none")
    pairs = [pair for pair in read_pairs(session.directory.pairs_path) if pair.round == round_]
    session.observer.phase(f"round {round_}: training on {len(pairs)} pairs")
    with session.timed(f"{round_}/training"):
        trained = train_dpo(pairs, start, out, training, session.config.seed, session.observer.training_step)
    session.journal.note(f"training/{round_}", trained.model_dump_json())


def measure(session: Session, round_: int) -> None:
    """Measure the model that came out of `round_` (0: the starting model), once; the journal keeps the outcome."""
    config, key = session.config.measure, f"measure/{round_}"
    if isinstance(config, NoMeasure) or session.journal.noted(key) is not None:
        return
    session.observer.phase("measuring the starting model" if round_ == 0 else f"round {round_}: measuring the trained model")
    policies, label = {Role.SOLVER: round_ + 1, Role.JUDGE: 1}, f"round-{round_}"
    with session.timed(f"{max(1, round_)}/measure"):
        outcome: exam.ExamResult | self_judged.ProblemScores
        if isinstance(config, ExamMeasure):
            outcome = session.play(policies, partial(exam.sit_exam, label=label, config=config))
        elif round_ == 0:
            held_out = documents_of(session, HELD_OUT_ROUND)
            outcome = session.play(dict.fromkeys(Role, 1), partial(self_judged.score_start, documents=held_out, config=config))
        else:
            outcome = session.play(policies, partial(self_judged.score_trained, label=label, config=config))
    session.journal.note(key, json.dumps(outcome))


def comparison(session: Session) -> dict[str, Any]:
    """Return the starting model's measurement against the last trained model's; empty while one of them is missing."""
    rounds = range(session.config.rounds, 0, -1)
    after = next((note for round_ in rounds if (note := session.journal.noted(f"measure/{round_}"))), None)
    before = session.journal.noted("measure/0")
    if before is None or after is None:
        return {}
    compare = exam.compare if isinstance(session.config.measure, ExamMeasure) else self_judged.compare
    return compare(json.loads(before), json.loads(after))
