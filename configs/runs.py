"""Where a run keeps its things: RUN/checkpoints/step_NNNNNN, complete ones only.

Guarantees: a checkpoint that `checkpoints` lists was finished (it is renamed into place when all of it is on disk).
"""

from pathlib import Path


def checkpoint_path(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:06d}"


def checkpoints(run: Path) -> list[Path]:
    """Finished checkpoints of a run's folder, oldest first."""
    return sorted(p for p in (run / "checkpoints").glob("step_[0-9]*") if p.is_dir() and p.name[5:].isdigit())


def latest(run: Path) -> Path | None:
    """The newest finished checkpoint, or None."""
    found = checkpoints(run)
    return found[-1] if found else None


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.split("_")[-1])
