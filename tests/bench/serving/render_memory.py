"""Memory of a render worker over 2,000 renders of each kind: of the whole tree of processes, shared pages once (PSS).

Looked at after every 20 renders and averaged over 200, because a tree of browser processes breathes: contexts are left
after 50 pages, the browser is replaced after 200. Growth is that of the tree's own memory: its share of the libraries'
pages changes with every stranger on the machine that runs the same ones.
"""

import asyncio
import contextlib
import os
import re
import statistics
import time
from pathlib import Path

from configs.schema import Render, Workers
from serving.render import sandbox
from serving.render.charts import ChartRenderer
from serving.render.web import WebRenderer
from tests.data import real
from tests.serving.jailed.canaries import family

RENDERS = 2000
WINDOW = 200
EVERY = 20
CHART = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2.1, 1.75), dpi=80)\nplt.bar([1, 2], [{n}, 5])\n"


def own_bytes(pid: int) -> int:
    """Proportional bytes of a tree of processes without the pages of files."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):  # gone in between
            rollup = Path("/proc", str(member), "smaps_rollup").read_text()
            total += 1024 * sum(int(kb) for kb in re.findall(r"^Pss_(?:Anon|Shmem): *(\d+)", rollup, re.MULTILINE))
    return total


async def watch(domain: str) -> dict:
    """Mean MB of every WINDOW renders, in all and own, and the largest growth of a later own one over the first."""
    pages = [path.read_text() for path in sorted(real("web").glob("*.html"))]
    renderer = ChartRenderer(Render()) if domain == "chart" else WebRenderer(Render(web=Workers(concurrency=2)))
    started, looks, own = time.perf_counter(), [], []
    for first in range(0, RENDERS, EVERY):
        numbers = range(first, first + EVERY)
        sources = [CHART.format(n=n) if domain == "chart" else f"{pages[n % 30]}<!--{n}-->" for n in numbers]
        results = await asyncio.gather(*(renderer.render(source) for source in sources))
        assert all(result.ok for result in results), [result.message for result in results if not result.ok]
        looks.append(sandbox.tree_bytes(os.getpid()) / 2**20)
        own.append(own_bytes(os.getpid()) / 2**20)
    seconds = time.perf_counter() - started
    await renderer.close()
    per_window = WINDOW // EVERY
    series, own_series = (
        [statistics.mean(each[first : first + per_window]) for first in range(0, len(each), per_window)]
        for each in (looks, own)
    )
    growth = max(own_series[1:]) / own_series[0] - 1
    print(
        f"{domain:5} {RENDERS} in {seconds:.0f} s; MB {', '.join(f'{mb:.0f}' for mb in series)}; "
        f"own MB {', '.join(f'{mb:.0f}' for mb in own_series)}; growth of own {growth:+.1%}"
    )
    return {"seconds": seconds, "mb": series, "own_mb": own_series, "growth": growth, "peak_mb": max(looks)}


def main(out_dir: Path) -> dict:
    return {domain: asyncio.run(watch(domain)) for domain in ("chart", "web")}
