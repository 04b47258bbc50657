"""The run viewer on a long run: more than 20,000 trajectories, made up in the form that a run writes them.

Measured: reading the whole folder once, the memory of the index, a page of groups by random filters over HTTP, what a
look for news costs while nothing is new, and, in a browser, from the click on `Older` until its groups are shown.
"""

import http.client
import json
import random
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from serving.viewer.app import alone
from serving.viewer.run_folder import RunFolder
from tests.serving.pages.browser import opened
from tests.serving.viewer.test_app import Served
from tests.training.run.made_run import make

STEPS, GROUPS, MEMBERS = 650, 4, 8
ASKED = 200
FILTERS = (
    "", "state=stale", "state=consumed&sort=best", "failure=syntax", "reward_from=0.9", "reward_to=-0.1&sort=worst",
    "step_from=100&step_to=300", "sort=spread", "sort=oldest",
)  # fmt: skip


def main(out_dir: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as root:
        path = make(Path(root) / "long", STEPS, GROUPS, MEMBERS)
        size = sum(p.stat().st_size for p in path.rglob("*.jsonl")) / 2**20
        tracemalloc.start()
        run = RunFolder(path)
        run.refresh()
        memory = tracemalloc.get_traced_memory()[0] / 2**20
        tracemalloc.stop()
        started = time.perf_counter()
        run = RunFolder(path)
        run.refresh()
        first = time.perf_counter() - started
        started = time.perf_counter()
        run.refresh()
        nothing_new = time.perf_counter() - started
        served = Served(alone(path.parent, path.name))
        try:
            pages = [_page(served.port) for _ in range(ASKED)]
            shown = _browse(f"http://127.0.0.1:{served.port}/runs/long/")
        finally:
            served.stop()
    found = {
        "trajectories": STEPS * GROUPS * MEMBERS,
        "jsonl_mb": round(size, 1),
        "read_all_s": round(first, 2),
        "index_mb": round(memory, 1),
        "nothing_new_ms": round(1000 * nothing_new, 2),
        "page_ms": {"p50": round(1000 * median(pages), 1), "p95": round(1000 * quantiles(pages, n=20)[-1], 1)},
        "browser_page_ms": {"p50": round(1000 * median(shown), 1), "max": round(1000 * max(shown), 1)},
    }
    print(json.dumps(found), flush=True)
    return found


def _page(port: int) -> float:
    offset = random.choice((0, 20, 400))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("GET", f"/runs/long/api/groups?{random.choice(FILTERS)}&offset={offset}")
    answer = connection.getresponse()
    assert answer.status == 200 and json.loads(answer.read())["total"] > 0
    connection.close()
    return time.perf_counter() - started


def _browse(address: str) -> list[float]:
    """Seconds of twelve pages, each until its last group stands on the page."""
    found = []
    with opened() as page:
        page.goto(address)
        page.locator("article.group").nth(19).wait_for()
        for _ in range(12):
            before = page.locator("#place").text_content()
            started = time.perf_counter()
            page.get_by_role("button", name="Older").click()
            page.wait_for_function("was => document.querySelector('#place').textContent !== was", arg=before)
            found.append(time.perf_counter() - started)
    return found
