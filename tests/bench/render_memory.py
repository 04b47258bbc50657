"""Memory of a render worker over 2,000 renders of each kind: of the whole tree of processes, shared pages once (PSS).

Looked at after every 20 renders and averaged over 200, because a tree of browser processes breathes: contexts are left
after 50 pages, the browser is replaced after 200.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path

from configs.schema import Render, Workers
from serving import sandbox
from serving.charts import ChartRenderer
from serving.web import WebRenderer

RENDERS = 2000
WINDOW = 200
EVERY = 20
PAGES = Path(__file__).resolve().parents[3] / "shared" / "data" / "web"
CHART = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2.1, 1.75), dpi=80)\nplt.bar([1, 2], [{n}, 5])\n"


async def watch(domain: str) -> dict:
    """Mean MB of every WINDOW renders, and the largest growth of a later one over the first."""
    pages = [path.read_text() for path in sorted(PAGES.glob("*.html"))]
    renderer = ChartRenderer(Render()) if domain == "chart" else WebRenderer(Render(web=Workers(concurrency=2)))
    started, looks = time.perf_counter(), []
    for first in range(0, RENDERS, EVERY):
        numbers = range(first, first + EVERY)
        sources = [CHART.format(n=n) if domain == "chart" else f"{pages[n % 30]}<!--{n}-->" for n in numbers]
        results = await asyncio.gather(*(renderer.render(source) for source in sources))
        assert all(result.ok for result in results), [result.message for result in results if not result.ok]
        looks.append(sandbox.tree_bytes(os.getpid()) / 2**20)
    seconds = time.perf_counter() - started
    await renderer.close()
    per_window = WINDOW // EVERY
    series = [statistics.mean(looks[first : first + per_window]) for first in range(0, len(looks), per_window)]
    growth = max(series[1:]) / series[0] - 1
    print(
        f"{domain:5} {RENDERS} in {seconds:.0f} s; MB {', '.join(f'{mb:.0f}' for mb in series)}; growth {growth:+.1%}"
    )
    return {"seconds": seconds, "mb": series, "growth": growth, "peak_mb": max(looks)}


def main(out_dir: Path) -> dict:
    return {domain: asyncio.run(watch(domain)) for domain in ("chart", "web")}
