"""Reuse: calls of another run stand in for a model, so that two runs differ in one role alone.

Taken over are whole calls, refused attempts included, of the roles asked for, in the episodes of documents that both runs chose
for the same round with the same text; but for answers to held-out problems, by which the policy is measured. They are parsed
anew and written into this run's journal, with 0 tokens. What the other run does not hold is asked of the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pop_selfplay.config import Reuse
from pop_selfplay.errors import ConfigError
from pop_selfplay.journal import CallKey, Journal, RunDirectory
from pop_selfplay.journal.notes import SHARD
from pop_selfplay.records import Completion, Role


@dataclass(frozen=True)
class Earlier:
    """Another run's calls. `shared` holds round/document id of the documents that both runs have."""

    journal: Journal
    roles: frozenset[Role]
    shared: frozenset[str]

    def completion(self, key: CallKey) -> Completion | None:
        """Return what the other run's model wrote for `key`, as a completion that cost nothing; None where it holds none."""
        episode, _, _ = key.episode.rpartition("/")
        if key.role not in self.roles or episode not in self.shared:
            return None
        if key.role == Role.SOLVER and episode.startswith("0/"):
            return None  # the policy is measured by these answers, and the other run may have another one
        call = self.journal.find_call(key)
        return None if call is None else Completion(call.completion.text, call.completion.finish_reason, 0, 0)


@contextmanager
def open_earlier(reuse: Reuse | None, own: Journal, rounds: int) -> Iterator[Earlier | None]:
    """Open the run that `reuse` names, to read only. `own` holds the documents of this run's rounds, 0 to `rounds`.

    Raises ConfigError when the runs have no document in common, and the errors of opening a run directory.
    """
    if reuse is None:
        yield None
        return
    wanted = {Role.PROPOSER: reuse.problems, Role.SOLVER: reuse.candidates, Role.RUBRIC_WRITER: reuse.rubrics}
    with Journal.open_to_read(RunDirectory.open(Path(reuse.run)).journal_path) as journal:
        shared = frozenset(
            f"{round_}/{id_}"
            for round_ in range(rounds + 1)
            for id_, _ in {(d.id, d.text) for d in own.documents(round_)} & {(d.id, d.text) for d in journal.documents(round_)}
        )
        if not shared and not SHARD.exists(own):  # another shard may share what this one does not
            raise ConfigError(
                f"synthesis.reuse: {reuse.run} shares no document with this run: give both the same seed, corpus, "
                "filter and number of held-out documents"
            )
        yield Earlier(journal, frozenset(role for role, taken in wanted.items() if taken), shared)
