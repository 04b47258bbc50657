"""What a person sees of a run: one line a step, a bar with the time left, plain lines where there is no terminal.

Guarantees: reads the run's own metrics.jsonl and nothing else, so what is shown is what is kept.
"""

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Display:
    """Follows RUN/metrics.jsonl; `with Display(...) as display:` and then `poll()` now and then."""

    def __init__(self, run: Path, steps: int, done: int, bound: int) -> None:
        self._path = run / "metrics.jsonl"
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._bound = bound
        self._console = Console(soft_wrap=True, highlight=False)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("training", total=steps, completed=done)
        self._steps = steps
        self._started = time.monotonic()
        self._begun_at = done

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def poll(self) -> int:
        """Show the lines that are new since the last call; how many."""
        if not self._path.exists():
            return 0
        with self._path.open() as lines:
            lines.seek(self._offset)
            text = lines.read()
        complete = text[: text.rfind("\n") + 1]
        self._offset += len(complete.encode())
        rows = [json.loads(line) for line in complete.splitlines()]
        for row in rows:
            self._console.print(self._line(row))
            if row.get("checkpoint_error"):
                self._console.print(f"warning: no checkpoint written: {row['checkpoint_error']}; training goes on")
            for note in row.get("notes") or ():
                self._console.print(f"note: {note}")
            self._progress.update(self._task, completed=row["step"])
        return len(rows)

    def _line(self, row: dict[str, Any]) -> str:
        done = row["step"] - self._begun_at
        left = (time.monotonic() - self._started) / max(1, done) * (self._steps - row["step"])
        return (
            f"step {row['step']:>4}/{self._steps}  reward {row['reward']:+.3f}  runs {100 * row['exec_rate']:5.1f}%  "
            f"similarity {row['similarity']:.3f}  staleness {row['staleness_mean']:.1f} (max {row['staleness_max']:.0f}"
            f" of {self._bound})  {row['trajectories_per_s']:5.1f} traj/s  ETA {int(left) // 60}:{int(left) % 60:02d}"
        )
