"""Plot2Code's scores: jailed forks against the published way, a process for the pass and a loop over exec for texts.

The two ways take turns over a sample of the pairs with the original's figures. The other way is the published one in
its costs: each candidate runs in a process of its own, forked from one that has Matplotlib, and saves its picture; then
reference and candidate run again, in one process, and save theirs. That process starts once for all pairs, as there,
and its start is left out, which is to its advantage. With a clone in RRVF_OFFICIAL it is the original's own code.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.data import real
from tests.published import beside, clone_of
from tests.ratios import ratios
from training.metrics.official import PATIENT
from training.metrics.plot2code import Scorer

SAMPLE = 2  # every so many pairs one is done both ways
PUBLISHED = """import json, multiprocessing, sys, time
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.pyplot import *
def alone(code):
    try:
        exec(code)
        plt.gcf().savefig("pass.png")
    except Exception:
        pass
def words(part):
    return [part.get_text()] * hasattr(part, "get_text") + [w for c in part.get_children() for w in words(c)]
for line in sys.stdin:
    golden, generated = json.loads(line)
    started = time.perf_counter()
    child = multiprocessing.Process(target=alone, args=(generated,))
    child.start()
    child.join(30)
    for code in (golden, generated):
        try:
            exec(code, dict(globals()))
            plt.gcf().savefig("text.png")
            words(plt.gcf())
        except Exception:
            pass
        matplotlib.rcdefaults()
        plt.close("all")
    print(time.perf_counter() - started, flush=True)
"""


async def measure() -> list[tuple[float, float]]:
    """Seconds of each sampled pair both ways, of every pair with a clone of the original."""
    if clone := clone_of("plot2code"):
        scorer = Scorer(PATIENT)
        try:
            return await beside("plot2code", clone, scorer.score)
        finally:
            await scorer.close()
    folder = real("official") / "plot2code"
    rows = [json.loads(line) for line in (folder / "official.jsonl").read_text().splitlines()][::SAMPLE]
    pairs = [tuple((folder / row[side]).read_text() for side in ("golden", "generated")) for row in rows]
    scorer, both = Scorer(PATIENT), []
    with tempfile.TemporaryDirectory() as scratch:
        published = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PUBLISHED], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=scratch, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert published.stdin is not None and published.stdout is not None
        try:
            for number, pair in enumerate((pairs[0], *pairs)):  # the first warms both
                started = time.perf_counter()
                await scorer.score(*pair)
                ours = time.perf_counter() - started
                print(json.dumps(pair), file=published.stdin, flush=True)
                theirs = float(await asyncio.to_thread(published.stdout.readline))
                both += [(ours, theirs)] * (number > 0)
        finally:
            published.kill()
            published.communicate()
            await scorer.close()
    return both


def main(out_dir: Path) -> dict:
    return ratios(asyncio.run(measure()))
