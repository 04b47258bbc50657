"""Pictures of charts drawn ahead of training, as the image processor resizes them: arrays of bytes, memory-mapped.

Guarantees: a picture depends on its pool and its number alone; a shard appears whole or not at all, so drawing and
training run side by side and either may be killed. Programs are run in this process: they are the generator's own.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from actors.contracts import Outage
from training.data.chart_looks import Look, drawing
from training.data.synthetic_charts import SIZE, Chart, Split, chart

SHARD = 250
HEIGHT, WIDTH = 140, 196  # of the resized picture: 10 x 14 patches of 14, merged to 5 x 7 tokens


def name_of(split: Split, kind: str, look: Look, number: int) -> str:
    return f"{split}-{look}-{kind}-{number:03d}.npy"


def rgb(program: str) -> np.ndarray:
    """The picture that a program of the generator draws, (height, width, 3) bytes; pixel for pixel `savefig`'s."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with matplotlib.rc_context():
        exec(compile(program, "<chart>", "exec"), {})
        canvas = plt.gcf().canvas
        canvas.draw()
        picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[attr-defined]
        plt.close("all")
    return picture


def resized(pictures: list[np.ndarray], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """As the policy's image processor does it: bicubic with antialiasing, on bytes."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2.functional import resize

    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    small = resize(stacked, [height, width], interpolation=InterpolationMode.BICUBIC, antialias=True)
    return small.permute(0, 2, 3, 1).contiguous().numpy()


def draw_shard(folder: Path, split: Split, kind: str, look: Look, number: int, seed: int) -> None:
    """Pictures number * SHARD and on of a pool; nothing to do where the shard exists."""
    path = folder / name_of(split, kind, look, number)
    if path.exists():
        return
    charts = [(i, chart(kind, look, i, seed, split)) for i in range(number * SHARD, (number + 1) * SHARD)]
    pictures = [rgb(drawing(found, look, i, seed)) for i, found in charts]
    assert all(p.shape == (SIZE[1], SIZE[0], 3) for p in pictures)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    with part.open("wb") as out:
        np.save(out, resized(pictures))
    part.rename(path)


class Pools:
    """The charts and pictures of one folder; waits for a shard that is not drawn yet."""

    def __init__(self, folder: Path, seed: int, alive: Callable[[], bool] = lambda: True) -> None:
        self.folder, self.seed, self.alive = folder, seed, alive
        self._shards: dict[str, np.ndarray] = {}

    def picture(self, split: Split, kind: str, look: Look, index: int) -> np.ndarray:
        """(HEIGHT, WIDTH, 3) bytes. Raises Outage when the shard does not appear."""
        name = name_of(split, kind, look, index // SHARD)
        if name not in self._shards:
            self._shards[name] = np.load(self.wait_for(name), mmap_mode="r")
        return self._shards[name][index % SHARD]

    def wait_for(self, name: str, patience_s: float = 1800.0) -> Path:
        """A file of the folder, once it is there. Raises Outage where drawing has ended or takes too long."""
        path, deadline = self.folder / name, time.monotonic() + patience_s
        while not path.exists():
            if time.monotonic() > deadline or (not self.alive() and not path.exists()):
                raise Outage("drawing", f"{path} was not drawn; start again to go on")
            time.sleep(0.2)
        return path

    def chart(self, split: Split, kind: str, look: Look, index: int) -> Chart:
        return chart(kind, look, index, self.seed, split)
