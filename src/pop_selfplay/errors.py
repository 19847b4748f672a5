"""Every error this package raises on purpose, named after the boundary that was crossed.

    PopError                        exit code
    ├── UsageError                  2   the request itself makes no sense
    │   ├── ConfigError             2   a config file or --set value is wrong
    │   ├── DomainError             2   a domain folder is incomplete or malformed
    │   ├── CorpusError             2   documents cannot be read, or none are left
    │   └── MissingExtra            2   what was asked for needs an extra of the package (extras.py)
    ├── JournalError                2   a run directory cannot be opened, read or written
    │   ├── JournalDamaged          2   its journal no longer holds what was written
    │   └── JournalStopped          4   it cannot be used for now: disk full, locked by another program
    ├── ModelError                  4   the model behind a role cannot answer
    │   ├── ModelRefused            2   it never will: bad key, unknown model, missing weights
    │   ├── RequestRefused          4   this one request is refused, as too long say; it is recorded as a failure
    │   │   └── RequestBroken       4   the server answers others, but fails on this one every time
    │   └── ModelUnavailable        4   it may later: the server is down and patience_s is over
    ├── TrainingError               3   training ended without a usable model
    ├── NothingMade                 3   a run that only synthesises ended without a pair
    ├── GateFailed                  3   a quality gate was measured and missed
    └── Stopped                     4   stopped on request; everything finished is in the journal
        └── BudgetSpent             4   a limit of `budget` is reached

Bad *model output* is not an error: it is data, recorded as a `records.Failure`. An exception that is not a PopError is a
bug in this package and ends the command with exit code 1, but for a place that the file system does not give (exit code 2). A
new error goes under the boundary it belongs to, with the exit code of that branch, and its message says what is wrong, the
value, and what to do about it.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pydantic import ValidationError


class PopError(Exception):
    """Base of every deliberate error. `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class UsageError(PopError):
    exit_code = 2


class ConfigError(UsageError):
    pass


class DomainError(UsageError):
    pass


class CorpusError(UsageError):
    pass


class MissingExtra(UsageError):
    pass


class JournalError(PopError):
    exit_code = 2


class JournalDamaged(JournalError):
    pass


class JournalStopped(JournalError):
    exit_code = 4


class ModelError(PopError):
    exit_code = 4


class ModelRefused(ModelError):
    exit_code = 2


class RequestRefused(ModelError):
    """`about_request`: this one request is too long or its content is refused; others may still be answered."""

    def __init__(self, message: str, *, about_request: bool = True) -> None:
        super().__init__(message)
        self.about_request = about_request


class RequestBroken(RequestRefused):
    pass


class ModelUnavailable(ModelError):
    pass


class TrainingError(PopError):
    exit_code = 3


class NothingMade(PopError):
    exit_code = 3


class GateFailed(PopError):
    exit_code = 3


class Stopped(PopError):
    exit_code = 4


class BudgetSpent(Stopped):
    """`limit` is the setting that stopped the run, such as "budget.tokens"."""

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


def validation_text(error: "ValidationError") -> str:
    """Return what pydantic found wrong with stored or sent data: place and words of the first three faults, in one line.

    For what a user wrote as settings, `config.complaints` says more.
    """
    faults = error.errors(include_url=False, include_input=False)[:3]
    return "; ".join(": ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"]))) for fault in faults)
