"""Calls that a server refuses: a failure of the one call, until there are so many that the run must say so and end.

| evidence | what follows |
| --- | --- |
| a role was never answered: after `_NEVER_ANSWERED` refusals, or at the end of the round | ModelRefused, exit code 2 |
| most of a role's last calls were refused, after good ones | ModelUnavailable, exit code 4 |
| the last calls of all roles were refused, in three episodes or more, and not for what they ask | the same |
| nothing at all was answered in this session, and the refusals are not about single requests | ModelUnavailable, exit code 4 |
| else | the episode ends as `refused` and is asked again by a resume, or as `broken` and is not |

`broken` is a call on which a server that answers others fails however often it is asked. It is noted in the journal, so that no
resume waits for it again. Episodes that were refused before count for nothing when they are refused again: a few documents that
are too long must not end every resume. Another rule is a row here and a condition in `_judge`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from pop_selfplay.errors import ModelRefused, ModelUnavailable, RequestBroken, RequestRefused
from pop_selfplay.journal import Journal
from pop_selfplay.records import Failure, Role

REFUSED: Final = "refused"
BROKEN: Final = "broken"
_WORDS: Final = "refusal/"
ANSWERED: Final = "answered/"  # notes of roles whose models have answered the run, in the journal of a part of it
_NEVER_ANSWERED: Final = 16
_LAST: Final = 20
_MOST_OF_THE_LAST: Final = 10
_FEW_AT_THE_END: Final = 5
_LAST_OF_ALL: Final = 3


class Refusals:
    """What the calls of one session came to, by role and episode: a problem that is refused is so for every candidate."""

    def __init__(self) -> None:
        self._answered: set[Role] = set()
        self._refused: dict[Role, set[str]] = {role: set() for role in Role}
        self._last: dict[Role, OrderedDict[str, bool]] = {role: OrderedDict() for role in Role}
        self._words: dict[Role, str] = {}
        self._about_requests = True
        self._since_answer: set[str] = set()
        """Episodes refused since anything was last answered, for reasons that are not about the one request."""
        self._expected: frozenset[str] = frozenset()

    def expect(self, episodes: Iterable[str]) -> None:
        """Note that these episodes were refused before, and may be again."""
        self._expected = frozenset(episodes)

    def answered(self, episode: str, role: Role) -> None:
        """Note that the role's model answered a call of the episode."""
        self._answered.add(role)
        self._since_answer.clear()
        self._remember(episode, role, refused=False)

    def refused(self, journal: Journal, episode: str, role: Role, error: RequestRefused) -> Failure:
        """Note that a call was refused and return it as a failure. Raises what the table says."""
        if self._words.get(role) != str(error):
            self._words[role] = str(error)
            journal.note(f"{_WORDS}{role.value}", str(error))
        if episode not in self._expected and episode not in self._last[role]:
            self._remember(episode, role, refused=True)
        self._refused[role].add(episode)
        if not error.about_request:
            self._since_answer.add(episode)
        self._about_requests = self._about_requests and error.about_request
        self._judge(journal, role, ended=False)
        return Failure(stage=role.value, reason=BROKEN if isinstance(error, RequestBroken) else REFUSED, detail=str(error))

    def check(self, journal: Journal) -> None:
        """Raise what the table says at the end of a round."""
        for role in Role:
            if self._refused[role]:
                self._judge(journal, role, ended=True)

    def _remember(self, episode: str, role: Role, *, refused: bool) -> None:
        last = self._last[role]
        last[episode] = refused
        last.move_to_end(episode)
        if len(last) > _LAST:
            last.popitem(last=False)

    def _judge(self, journal: Journal, role: Role, *, ended: bool) -> None:
        last, words, who = self._last[role], self._words[role], role.value.replace("_", " ")
        if role not in self._answered and not _ever_answered(journal, role):
            if ended or len(self._refused[role]) >= _NEVER_ANSWERED:
                forget_broken(journal)
                raise ModelRefused(f"no call of the {who} was ever answered. The last refusal: {words}")
            return
        refused = sum(last.values())
        running_on = refused >= (_FEW_AT_THE_END if ended else _MOST_OF_THE_LAST) and 2 * refused > len(last)
        running_on = running_on or len(self._since_answer) >= (_LAST_OF_ALL if ended else _MOST_OF_THE_LAST)
        if not (running_on or (ended and not self._answered and not self._about_requests)):
            return
        forget_broken(journal)
        raise ModelUnavailable(
            f"calls of the {who} were refused, {refused} of its last {len(last)} episodes. The last "
            f"refusal: {words}. Refused episodes are retried when the run is resumed"
        )


def last_words(journal: Journal) -> Mapping[str, str]:
    """Return role → the words of its last refused call, of the roles that had any since refused episodes were asked again."""
    return journal.noted_under(_WORDS)


def ask_again(journal: Journal, round_: int) -> frozenset[str]:
    """Make the refused episodes of a round unfinished again, and return their ids."""
    again = journal.forget_episodes(REFUSED, round_)
    if again:
        journal.forget_notes(_WORDS)
    return again


def broken_note(digest: str) -> str:
    """Return the journal's key of a call that no server can answer."""
    return f"{BROKEN}/{digest}"


def forget_broken(journal: Journal) -> None:
    """What seemed the fault of single calls was the server's: let a resume ask them all again."""
    journal.forget_notes(f"{BROKEN}/")
    journal.forget_episodes(BROKEN)


def _ever_answered(journal: Journal, role: Role) -> bool:
    told = journal.noted(ANSWERED + role.value) is not None
    return told or any(of == role.value and count for (_, of, _), count in journal.tally.calls.items())
