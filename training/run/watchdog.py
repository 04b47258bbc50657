"""The learner's thread, waited for as long as it makes steps.

Guarantees: the wait ends when the learner does, or when the file that every step adds a line to has not grown for the
limit; what the learner raised comes back as one line.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

POLL_S = 0.5
LINE = 240  # characters of a reason; Ray words a death at length


def watch(work: Callable[[], object], curve: Path, limit_s: float, look: Callable[[], object]) -> str | None:
    """Do `work` in a thread and call `look` twice a second meanwhile. None where it ended well, else why not."""
    raised: list[str] = []

    def run() -> None:
        try:
            work()
        except Exception as error:
            raised.append(last_line(error))

    thread = threading.Thread(target=run, name="learner", daemon=True)
    thread.start()
    size, since = -1, time.monotonic()
    while thread.is_alive():
        thread.join(POLL_S)
        look()
        if (now := curve.stat().st_size if curve.exists() else 0) != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > limit_s:
            return f"no step in {limit_s:g} s (see learner.step_s)"
    look()
    return raised[0] if raised else None


def last_line(error: BaseException) -> str:
    """The last line of an error's words, cut at a word."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[-1] if lines else type(error).__name__
    return line if len(line) <= LINE else f"{line[:LINE].rsplit(' ', 1)[0]} ..."
