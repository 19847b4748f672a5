"""A training by several processes, one per GPU, as `accelerate launch -m pop_selfplay train RUN` starts them.

The first process holds the run directory, reads the pairs and writes everything; it tells the others what to train, and they
train along: what one is told by `tell`, the others get from `hear`. Nothing here loads torch unless there are several.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from pop_selfplay.errors import UsageError

PATIENCE: Final = timedelta(hours=6)
"""How long a process waits for the others: the first one may encode many pairs, or write a large checkpoint, alone."""


def count() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that writes."""
    return int(os.environ.get("RANK", "0")) == 0


def require_one() -> None:
    """Raise UsageError under a launcher of several processes: in online RL they would need a judge and a journal each."""
    if count() > 1:
        raise UsageError(f"online RL trains in one process, not in {count()}: start it without accelerate launch")


def barrier() -> None:
    """Return once every process is here."""
    if count() > 1:
        _connected().wait_for_everyone()


def tell(job: Any) -> None:
    """Send `job` to the other processes. Does nothing in a training of one process."""
    if count() > 1:
        from accelerate.utils import broadcast_object_list

        _connected()
        broadcast_object_list([job], from_process=0)
        _Told.jobs += 1


def hear() -> Any:
    """Return, in every process but the first, what the first one told, None when there is nothing to do."""
    from accelerate.utils import broadcast_object_list

    _connected()
    heard = [None]
    broadcast_object_list(heard, from_process=0)
    return heard[0]


@contextlib.contextmanager
def leading() -> Iterator[None]:
    """Let the others go, in the first process, when this ends without a job for them."""
    told = _Told.jobs
    try:
        yield
    finally:
        if _Told.jobs == told:
            tell(None)


class _Told:
    jobs = 0


def _connected() -> Any:
    """Return accelerate's state. Whoever comes first makes the process group; the trainer then takes it as it is."""
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
