"""Where a run's figures go: RUN/metrics.jsonl always, TensorBoard (with pictures of a few groups) and Ray's metrics by
default, Weights & Biases where asked for.

Guarantees: one complete JSON line a step, flushed before the next step begins; a figure that does not exist or is not
finite is null, never a zero. A resumed run goes on in the same files, and lines of steps it repeats are removed.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image, ImageOps

from actors.files import write_whole
from actors.gauges import export
from actors.trajectory import Group
from configs.schema import Config
from training.run.turn_figures import turn_figures


class MetricsLog:
    """`start`: first step to come; lines at or beyond it (of a run that was killed) are dropped."""

    def __init__(self, run: Path, config: Config, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = run / "metrics.jsonl"
        trim(self._path, start)
        self._board: Any = SummaryWriter(str(run / "tensorboard"), purge_step=start + 1 if start else None)
        self._wandb: Any = None
        if config.run.wandb:
            import wandb

            self._wandb = wandb.init(project="rrvf", name=config.run.name, dir=str(run), resume="allow")

    def write(self, figures: Mapping[str, Any]) -> None:
        """Append one step. `figures["step"]` counts from 1."""
        clean = {key: _clean(value) for key, value in figures.items()}
        with self._path.open("a") as out:
            out.write(json.dumps(clean) + "\n")
        numbers = {key: value for key, value in clean.items() if isinstance(value, int | float)}
        for key, value in numbers.items():
            self._board.add_scalar(key, value, clean["step"])
        if ray.is_initialized():
            export("train", numbers)
        if self._wandb is not None:
            self._wandb.log(numbers, step=clean["step"])

    def show(self, step: int, groups: Sequence[Group]) -> None:
        """Pictures of `groups` to TensorBoard: a row each, the target and its members' last renders by reward."""
        if rows := [sheet(g) for g in groups if g.trajectories]:
            width = max(row.width for row in rows)
            whole = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
            for number, row in enumerate(rows):
                whole.paste(row, (0, sum(r.height for r in rows[:number])))
            self._board.add_image("groups", np.asarray(whole), step, dataformats="HWC")

    def close(self) -> None:
        self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def trim(path: Path, start: int) -> None:
    """Drop the lines of steps after `start`, which are to be done again; a file without such lines is not touched."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if _step(line) <= start]
    if len(kept) < len(lines):
        write_whole(path, "".join(f"{line}\n" for line in kept))


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError):
        return math.inf  # a line that a kill cut short


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return value


def sheet(group: Group, size: int = 160) -> Image.Image:
    """Target, then each member's last render, best reward first; grey where a program did not run."""
    ordered = sorted(group.trajectories, key=lambda t: -t.reward.total)
    last = [
        next((t.render.png for t in reversed(p.turns) if t.render is not None and t.render.ok), None) for p in ordered
    ]
    row = Image.new("RGB", ((size + 4) * (1 + len(last)), size + 4), "white")
    for place, png in enumerate([group.trajectories[0].images[0], *last]):
        if png is None:
            tile = Image.new("RGB", (size, size), "lightgrey")
        else:
            tile = ImageOps.contain(Image.open(io.BytesIO(png)).convert("RGB"), (size, size))
        row.paste(tile, ((size + 4) * place, 0))
    return row


def play_figures(groups: Sequence[Group]) -> dict[str, float]:
    """What a batch's trajectories came to: reward and its parts, share that ran, similarity, turns, tokens."""
    played = [t for g in groups for t in g.trajectories]
    rewards = torch.tensor([t.reward.total for t in played], dtype=torch.float64)
    last = [t.turns[-1] if t.turns else None for t in played]

    def mean(values: Iterable[float]) -> float:
        held = [float(v) for v in values]
        return sum(held) / max(1, len(held))

    return {
        "reward": float(rewards.mean()),
        "reward_std": float(rewards.std()) if len(rewards) > 1 else 0.0,
        "reward_vision": mean(t.reward.vision for t in played),
        "reward_format": mean(t.reward.format for t in played),
        "reward_tool": mean(t.reward.tool for t in played),
        "exec_rate": mean(turn is not None and turn.render is not None and turn.render.ok for turn in last),
        "similarity": mean(t.similarity for t in played),
        "turns": mean(len(t.turns) for t in played),
        "tokens": float(sum(len(t.token_ids) for t in played)),
        "trajectories": float(len(played)),
        "groups": float(len(groups)),
        **turn_figures(played),
    }
