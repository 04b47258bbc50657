"""Exceptions that no one foresaw, while a member is played.

Guarantees: one of them makes its member void, by name, and never ends a run alone; the first traceback of each name is
logged; where more than MOST of the last WINDOW members ended so, `check` raises `TooManyErrors`, which ends the run
and names them.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterable

from actors.contracts import Outage
from actors.text import one_line

PREFIX = "error: "  # of the outcome of such a member
WINDOW, MOST = 64, 0.25
log = logging.getLogger(__name__)


class TooManyErrors(RuntimeError):
    """So many members ended by exceptions that no one foresaw that the run teaches nothing."""


class Unforeseen:
    """Counts of one process. `note` gets each such exception, `played` every member's outcome."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.outages: dict[str, tuple[int, str]] = {}  # by part: how many since they were last reported, and the last
        self._recent: deque[str] = deque(maxlen=WINDOW)

    def note(self, error: Exception, session: str) -> str:
        """The outcome of the member that `error` ended."""
        name = type(error).__name__
        self.counts[name] += 1
        if self.counts[name] == 1:
            log.error("%s is void: %s: %s", session, name, one_line(str(error))[:300], exc_info=error)
        return PREFIX + name

    def outage(self, error: Outage) -> str:
        """The outcome of the member that an outage ended."""
        count, _ = self.outages.get(error.part, (0, ""))
        self.outages[error.part] = count + 1, error.message
        return error.part

    def lines(self) -> list[str]:
        """One line for each part that has had outages since the last call, with the last of them."""
        found, self.outages = self.outages, {}
        return [f"{count} members void by {part}: {message[:300]}" for part, (count, message) in found.items()]

    def played(self, outcomes: Iterable[str]) -> None:
        self._recent.extend(outcomes)

    def check(self) -> None:
        """Raises TooManyErrors."""
        bad = [outcome for outcome in self._recent if outcome.startswith(PREFIX)]
        if len(bad) > MOST * WINDOW:
            names = ", ".join(f"{count} x {name.removeprefix(PREFIX)}" for name, count in Counter(bad).most_common(3))
            raise TooManyErrors(f"of the last {len(self._recent)} members {len(bad)} are void by errors: {names}")
