"""The table of families: the whole circle of training.check_model on each in tiny random form, as Markdown.

    python -m tests.training.families.table [FAMILY ...]     (default: all; about a minute each)

Exit status: 0 where every step of every family holds, else 1.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import torch

from configs.load import load
from tests.training.families.models import FAMILIES, build
from training.base import SHIPPED
from training.jobs.check_model import Circle

SHOWN = ("prompt", "parity", "packed = alone", "one step", "weight sync", "checkpoint")
BFLOAT16 = {"qwen3_5"}  # vLLM's kernels of linear attention on CPUs know nothing else
EMBEDDED = "qwen2_5_vl"


def row(family: str, path: Path) -> tuple[bool, str]:
    """Whether all holds, and the family's line."""
    dtype = "bfloat16" if family in BFLOAT16 else "float32"
    circle = Circle(str(path), load(None, ["engine.kv_cache_mb=64", f"policy.dtype={dtype}"]))
    holds = asyncio.run(circle.run())
    found = {step.name: step for step in circle.steps}
    cells = []
    for name in SHOWN:
        step = found.get(name)
        cell = "-" if step is None else step.found.removeprefix("gradient of norm ")
        cells.append(cell if step is None or step.holds else f"**NO** {cell}")
    how = "packed" if "packed = alone" in found else "one trajectory at a time"
    bound = found["parity"].bound if "parity" in found else "-"
    return holds, " | ".join((f"| {family}", how, dtype, bound, *cells)) + " |"


def main(names: list[str]) -> int:
    torch.set_num_threads(1)
    chosen = names or [EMBEDDED, *FAMILIES]
    heads = ("family", "learner", "dtype", "bound", *SHOWN)
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            holds, line = row(name, SHIPPED if name == EMBEDDED else build(name, Path(folder) / name))
            good = good and holds
            lines.append(line)
            print(line, file=sys.stderr, flush=True)
    print("\n".join(lines))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
