"""ChartMimic's four low-level scores: one jailed fork a program against eight fresh interpreters a pair.

The two ways take turns over a sample of the sixty pairs, so that a change of the machine's pace meets both; our way is
then measured over all of them as well. The other way is the published one: for each score and each of the two
programs an interpreter of its own, which imports Matplotlib and saves the figure (here `tests/.../by_hand.py`). With a
clone in RRVF_OFFICIAL, the original's own code is set against ours over the pairs with its figures.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.published import beside, clone_of
from tests.ratios import ratios
from tests.training.metrics import by_hand
from tests.training.metrics.pairs import pairs
from training.metrics.chartmimic import Scorer

SAMPLE = 12  # every so many pairs one is done both ways
SCORES = ("text", "layout", "type", "color")
FRESH = """import json, sys
sys.path.insert(0, sys.argv[1])
import by_hand
import matplotlib
matplotlib.use("Agg")
print(json.dumps(by_hand.TRACES[sys.argv[2]](by_hand.cut(sys.stdin.read()))))
"""


def fresh(golden: str, generated: str, folder: str) -> None:
    """One pair by eight interpreters, one after the other."""
    where = str(Path(by_hand.__file__).parent)
    for score in SCORES:
        for source in (golden, generated):
            subprocess.run(
                [sys.executable, "-c", FRESH, where, score], input=source, capture_output=True, text=True, check=True,
                cwd=folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=600,
            )  # fmt: skip


async def measure() -> tuple[list[float], list[tuple[float, float]]]:
    """Seconds of each pair our way, and of the sampled pairs both ways."""
    every = pairs()
    scorer = Scorer()
    ours: list[float] = []
    both: list[tuple[float, float]] = []
    try:
        await asyncio.gather(  # the servers start before the clock
            *(scorer.score(f"{first}plt.plot([1])", f"{first}plt.plot([1])") for first in ("", "import pandas\n"))
        )
        with tempfile.TemporaryDirectory() as folder:
            for number, (_, golden, generated) in enumerate(every):
                started = time.perf_counter()
                await scorer.score(golden, generated)
                ours.append(time.perf_counter() - started)
                if number % SAMPLE == 0:
                    started = time.perf_counter()
                    await asyncio.to_thread(fresh, golden, generated, folder)
                    both.append((ours[-1], time.perf_counter() - started))
    finally:
        await scorer.close()
    return ours, both


async def official(clone: Path) -> list[tuple[float, float]]:
    scorer = Scorer()
    try:
        return await beside("chartmimic", clone, scorer.score)
    finally:
        await scorer.close()


def main(out_dir: Path) -> dict:
    if clone := clone_of("chartmimic"):
        return ratios(asyncio.run(official(clone)))
    ours, both = asyncio.run(measure())
    return {"programs": len(ours), "ours_s": round(sum(ours), 2), **ratios(both)}
