"""Train again on the groups of a recorded run (`run.record=true`): same groups, same order, no engine and no cluster.

Guarantees: the same code on the same machine gives the figures of the record to the last digit, so a change of the
learner that moves them shows.
"""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from configs.load import ConfigError, load
from configs.schema import Config
from training.run.recording import FOLDER

FIGURES = ("loss", "grad_norm", "entropy", "mismatch_k3")


def rerun(run: Path, config: Config, model: str) -> list[dict[str, Any]]:
    """One row a step: the figures now, and in the record. `model`: the weights that the run began with."""
    from training.learner.ranks import Ranks
    from training.learner.update import Learner

    torch.set_num_threads(config.learner.threads)
    torch.manual_seed(config.run.seed)
    learner = Learner(model, config, Ranks.join(0))
    kept = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = []
    for step, path in enumerate(sorted((run / FOLDER).glob("step_*.pkl"))):
        shards, _ = learner.plan(pickle.loads(path.read_bytes()))
        now = learner.train(shards[0], step, step)
        was = kept[step] if step < len(kept) else {}
        rows.append({"step": step + 1} | {f: now.get(f) for f in FIGURES} | {f"{f}_then": was.get(f) for f in FIGURES})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def compare(run: Path, overrides: Sequence[str]) -> int:
    """Train again on a run's batches and print what moved; 0 where no figure did, else 1. Raises ConfigError,
    OSError."""
    if not any((run / FOLDER).glob("step_*.pkl")):
        raise ConfigError(f"{run / FOLDER}: no recorded batches; run with run.record=true")
    config = load(run / "config.yaml", overrides)
    rows = rerun(run, config, (run / FOLDER / "model").read_text())
    moved = [r["step"] for r in rows if any(not _same(r[f], r[f"{f}_then"]) for f in FIGURES)]
    print(f"{len(rows)} steps; " + (f"other figures in steps {moved}" if moved else "all figures as recorded"))
    return 1 if moved else 0


def _same(now: float | None, then: float | None) -> bool:
    """Equal in the seven digits that a record keeps."""
    if now is None or then is None:
        return now == then
    return f"{now:.7g}" == f"{then:.7g}"
