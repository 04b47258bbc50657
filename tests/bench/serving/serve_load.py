"""Ten times what the server can do, for a minute: /render and /v1/image-to-code on loopback.

Capacity is measured first, with as many clients as the server lets in. Then requests come at ten times that rate,
whether answered or not (an open loop), each with an input of its own (a pixel or a title differs) so that no cache
answers. What must hold: no status but 200 and 503, the p99 of those admitted bounded by what the house holds
(http.max_in_flight / capacity), and the old latency back within 5 s. RRVF_LOAD_S and RRVF_LOAD_MODEL:
another duration, another policy than the embedded one.
"""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import httpx
from PIL import Image

from tests.serving.live import Live, served

OVER, SECONDS, CALM_S, WARM_S = 10, float(os.environ.get("RRVF_LOAD_S", "60")), 5.0, 8.0
IN_FLIGHT = 16
PROGRAM = "import matplotlib.pyplot as plt\nplt.figure(figsize=(4,3))\nplt.bar([1,2,3],[3,4,{}])\nplt.title('{}')\n"


def main(out_dir: Path) -> dict[str, Any]:
    from training.base import SHIPPED
    from training.data.synthetic_charts import draw

    policy = os.environ.get("RRVF_LOAD_MODEL") or SHIPPED
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        args = {"model": str(policy), "inference.watch": False, "http.max_in_flight": IN_FLIGHT}
        with served(Path(folder), args) as live:
            programs = [draw(i, 1, "heldout").program for i in range(16)]
            charts = [httpx.post(f"{live.url}/render", json={"source": p}, timeout=60).json()["png"] for p in programs]
            (Path(folder) / "charts.json").write_text(json.dumps(charts))
            for path in ("/render", "/v1/image-to-code"):
                command = [
                    sys.executable,
                    "-m",
                    "tests.bench.serving.serve_load",
                    live.url,
                    path,
                    f"{folder}/charts.json",
                ]
                done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10 * SECONDS)
                found[path] = json.loads(done.stdout.splitlines()[-1]) | {"replaced": replaced(live)}
                print(path, json.dumps(found[path]), flush=True)
    return {"seconds": SECONDS, "over": OVER, "max_in_flight": IN_FLIGHT, "routes": found}


def replaced(live: Live) -> bool:
    """A replica died under the load: there are fewer of them."""
    return len(live.processes()) < 5


class Load:
    """Requests to one route and what became of them."""

    def __init__(self, session: aiohttp.ClientSession, path: str, charts: list[str]) -> None:
        self._session, self._path, self._charts = session, path, charts
        self._number = 0
        self.forget()

    def forget(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.no_retry_after = 0

    async def one(self) -> float:
        self._number += 1
        n = self._number
        body = {"source": PROGRAM.format(n % 97, n)} if self._path == "/render" else {"image": self._chart(n)}
        started = time.perf_counter()
        try:
            async with self._session.post(self._path, json=body) as answer:
                await answer.read()
                self.statuses[str(answer.status)] += 1
                if answer.status == 200:
                    self.seconds.append(time.perf_counter() - started)
                elif "Retry-After" not in answer.headers:
                    self.no_retry_after += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            self.statuses[type(error).__name__] += 1
        return time.perf_counter() - started

    def _chart(self, number: int) -> str:
        image = Image.open(io.BytesIO(base64.b64decode(self._charts[number % len(self._charts)])))
        image.putpixel((0, 0), (number % 256, number // 256 % 256, number // 65536))
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        return base64.b64encode(out.getvalue()).decode()

    async def closed(self, clients: int, seconds: float) -> float:
        """Answers a second while `clients` ask one thing after the other."""
        end = time.perf_counter() + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                await self.one()

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return len(self.seconds) / (time.perf_counter() - started)

    async def open(self, rate: float, seconds: float) -> float:
        """Send `rate` requests a second, come what may; what was really sent a second."""
        tasks, started = [], time.perf_counter()
        while (now := time.perf_counter() - started) < seconds:
            while len(tasks) < now * rate:
                tasks.append(asyncio.create_task(self.one()))
            await asyncio.sleep(0.005)
        sent = len(tasks) / (time.perf_counter() - started)
        await asyncio.gather(*tasks)
        return sent


def at(share: float, values: list[float]) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


async def measure(url: str, path: str, charts: list[str]) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        load = Load(session, path, charts)
        await load.closed(2, WARM_S)
        load.forget()
        alone = median([await load.one() for _ in range(10)])
        load.forget()
        capacity = await load.closed(IN_FLIGHT, WARM_S)
        load.forget()
        sent = await load.open(OVER * capacity, SECONDS)
        over, calm_from = (load.statuses, load.seconds, load.no_retry_after), time.perf_counter()
        load.forget()
        back_s, after = float("inf"), [1e9]
        while time.perf_counter() - calm_from < 4 * CALM_S:
            after = [*after[-2:], await load.one()]
            if median(after) < 2 * alone:
                back_s = time.perf_counter() - calm_from
                break
        return {
            "capacity_per_s": round(capacity, 2),
            "sent_per_s": round(sent, 1),
            "statuses": dict(over[0]),
            "without_retry_after": over[2],
            "alone_s": round(alone, 3),
            "admitted_s": {"p50": at(0.5, over[1]), "p99": at(0.99, over[1]), "most": at(1, over[1])},
            "full_house_s": round(IN_FLIGHT / capacity, 3),
            "back_to_normal_s": round(back_s, 2),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())))))
