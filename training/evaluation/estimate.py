"""What a person sees of an evaluation: how far it is, and how long the rest will take.

Guarantees: a bar on a terminal; elsewhere, as in a log, a line every LINE_S and one at the end.
"""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_S = 30.0


class Estimate:
    """`total` cases, of which `done` were through before; use as a context, and `advance` for each."""

    def __init__(self, name: str, total: int, done: int) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task(name, total=total, completed=done)
        self._name, self._total, self._begun, self._through = name, total, done, done
        self._plain, self._started, self._last = not console.is_terminal, time.monotonic(), time.monotonic()

    def advance(self) -> None:
        self._through += 1
        self._bar.advance(self._task)
        now = time.monotonic()
        if self._plain and (now - self._last >= LINE_S or self._through == self._total):
            self._last = now
            left = (now - self._started) / (self._through - self._begun) * (self._total - self._through)
            line = f"{self._name}: {self._through} of {self._total}, about {left / 60:.0f} min left"
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> "Estimate":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
