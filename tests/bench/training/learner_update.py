"""One optimiser step on 96 trajectories: ours against TRL's GRPOTrainer, same model, same trajectories, one thread.

Measured is the update alone, to stepped weights: from trajectories (ours: screened and packed inside the clock) or from
ready padded tensors (TRL's); pictures are decoded beforehand for both. TRL runs at several micro-batch sizes, the
best counts. CPU seconds of the process, the two taking turns, because the cores are shared; medians.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from configs.schema import Config
from tests.training import tiny
from tests.training.learner import trl_side
from training.learner.image_inputs import Pixels
from training.learner.packing import Row, weigh
from training.learner.ranks import Ranks
from training.learner.update import Learner

GROUPS, MEMBERS, ROUNDS = 12, 8, 3
SIZES = (4, 16)
KINDS = {"feedback in words": False, "feedback with pictures": True}


def main(out_dir: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    folder = tiny.build_model(Path(tempfile.mkdtemp()) / "policy", scale=1.0)
    return {name: compare(folder, show) for name, show in KINDS.items()}


def compare(folder: Path, show: bool) -> dict[str, Any]:
    groups = tiny.groups(GROUPS, MEMBERS, show=show, words=(30, 70))
    learner = Learner(str(folder), Config(), Ranks.join(0))
    _, screened = learner.plan(groups)
    rows = weigh(screened.rows, learner.config.grpo)
    trainer = trl_side.trainer(folder, Path(tempfile.mkdtemp()), beta=0.0, loss_type="dapo")
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-4)

    def ours() -> None:
        shards, _ = learner.plan(groups)
        learner.train(shards[0], 0, 0)

    sides: dict[str, Callable[[], None]] = {"ours": ours}
    for size in SIZES:
        batches = padded(rows, screened.images, learner.pixels, size)
        sides[f"trl, {size} at a time"] = lambda batches=batches: theirs(trainer, optimizer, batches)
    for side in sides.values():
        side()
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            began = time.process_time()
            side()
            taken[name].append(time.process_time() - began)
    rates = {name: len(rows) / statistics.median(times) for name, times in taken.items()}
    best = max(rate for name, rate in rates.items() if name != "ours")
    result = {
        "trajectories": len(rows),
        "tokens_per_trajectory": round(sum(len(row.ids) for row in rows) / len(rows), 1),
        "pictures": len(screened.images),
        "trajectories_per_cpu_s": {name: round(rate, 2) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / best, 2),
    }
    print(f"{'with' if show else 'without'} pictures in feedback: {result}")
    return result


def padded(rows: Sequence[Row], images: dict[str, bytes], pixels: Pixels, size: int) -> list[dict[str, Any]]:
    parts = [trl_side.inputs(rows[i : i + size], images, pixels, tiny.PAD) for i in range(0, len(rows), size)]
    total = sum(int(part["num_items_in_batch"]) for part in parts)
    return [part | {"num_items_in_batch": torch.tensor(total)} for part in parts]


def theirs(trainer: Any, optimizer: torch.optim.Optimizer, batches: Sequence[dict[str, Any]]) -> None:
    """What TRL does with an accumulation window: forward, backward, clip, step."""
    optimizer.zero_grad(set_to_none=True)
    for batch in batches:
        trainer._compute_loss(trainer.model, batch).backward()
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    optimizer.step()
