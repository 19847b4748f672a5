"""Lineage: which policy wrote what. Noted in the journal for every round and role before the first call is made.

The note `LINEAGE` of a round and role (of measure/<round> and role for a measurement) is a list of `Ancestor`s, the model that
plays now at its end. There is more than one only where the model was exchanged in the middle, as by training a round again.
"""

from collections.abc import Mapping
from pathlib import Path

from pop_selfplay.config import ModelConfig, PocketModel
from pop_selfplay.journal.notes import LINEAGE
from pop_selfplay.models.identity import weights_hash, weights_of
from pop_selfplay.records import Role
from pop_selfplay.results.run import Ancestor
from pop_selfplay.runs.session import Session


def note_lineage(session: Session, what: str, policies: Mapping[Role, int], *, measured: Role | None = None) -> None:
    """Note who plays each role of `what`, a round's number or measure/<round>; arguments as for `Casting.play`."""
    hashes: dict[str, str | None] = {}
    for role, player in session.casting.players(policies, measured=measured).items():
        weights = weights_of(player.model)
        if weights is not None and weights not in hashes:
            hashes[weights] = weights_hash(Path(weights))
        trained_in = None if player.policy is None else player.policy - 1
        ancestor = Ancestor(
            model=player.name,
            round=trained_in,
            parent=trained_in - 1 if trained_in else None,
            path=_path(player.model) if trained_in is None else path_of(session, trained_in),
            weights=None if weights is None else hashes[weights],
        )
        known = LINEAGE.read(session.journal, what, role) or ()
        if not known or known[-1] != ancestor:
            LINEAGE.write(session.journal, (*known, ancestor), what, role)


def path_of(session: Session, round_: int) -> str | None:
    """Return where the model that came out of `round_` lies, in the run directory from 1 on; None where it is only served."""
    if round_:
        return str(session.directory.model_path(round_).relative_to(session.directory.path))
    return _path(session.config.model)


def _path(model: ModelConfig) -> str | None:
    return "pocket" if isinstance(model, PocketModel) else weights_of(model)


def lineage_of(session: Session, round_: int) -> dict[str, tuple[Ancestor, ...]]:
    """Return role → the models that played it in `round_`, the latest at the end; empty before the round began."""
    noted = {role.value: LINEAGE.read(session.journal, round_, role) for role in Role}
    return {role: ancestors for role, ancestors in noted.items() if ancestors is not None}
