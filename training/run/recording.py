"""The batches of a run on disk, so that they can be trained on again (`run.record=true`).

Guarantees: a batch is written whole or not at all, before the step that trains on it.
"""

import pickle
from collections.abc import Sequence
from pathlib import Path

from actors.files import write_whole
from actors.trajectory import Group

FOLDER = "batches"


def begin(run: Path, model: str) -> None:
    """Note which weights a recorded run begins with."""
    (run / FOLDER).mkdir(exist_ok=True)
    (run / FOLDER / "model").write_text(model)


def record(run: Path, step: int, groups: Sequence[Group]) -> None:
    """Keep the batch of `step` (0-based) under RUN/batches."""
    write_whole(run / FOLDER / f"step_{step:06d}.pkl", pickle.dumps(tuple(groups)))
