"""The judge: comparisons a second on one core, what the Serve hop adds, and what the cache saves.

Plain calls, calls by Serve handle and calls that hit the cache take turns over the same pairs, so that other load on
the machine falls on all of them.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable
from pathlib import Path

import cv2
import numpy as np
import ray
from ray import serve

from actors import local_ray
from configs.schema import Config, Judge
from serving.judge.perceptual import compare
from serving.judge.service import JudgeClient, VisualJudge, deployment
from tests.serving.judge import pictures

CHARTS = 12
VERSIONS = ("noise", "colour", "kind", "layout", "title")
HITS = 20  # repetitions of a hit: one alone is too short to time
SIZES = ((640, 480), (168, 140))


def resized(png: bytes, size: tuple[int, int]) -> bytes:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", cv2.resize(image, size, interpolation=cv2.INTER_AREA))[1].tobytes()


async def timed(work: Awaitable[object]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def hops(pairs: list[tuple[bytes, bytes]], handle: object) -> dict[str, float]:
    """Median milliseconds of one verdict: in process, by Serve handle, and by handle out of the cache."""
    client, here = JudgeClient(handle, Config()), VisualJudge(Judge(cache_entries=0))
    taken: dict[str, list[float]] = {"plain": [], "serve": [], "hit": []}
    await client.compare(*pairs[0], "chart")
    for target, render in pairs[1:]:
        taken["plain"].append(await timed(here.compare(target, render)))
        taken["serve"].append(await timed(client.compare(target, render, "chart")))
        for _ in range(HITS):
            taken["hit"].append(await timed(client.compare(target, render, "chart")))
    await here.close()
    return {f"{way}_ms": 1000 * statistics.median(seconds) for way, seconds in taken.items()}


def main(out_dir: Path) -> dict:
    """Comparisons a second of processor time at two sizes, and milliseconds and ratios of the ways to a verdict."""
    cv2.setNumThreads(1)
    made = pictures.all_versions(pictures.names()[:: len(pictures.names()) // CHARTS])
    chosen = [(v["base"], v[name]) for v in made.values() for name in VERSIONS if name in v]
    found: dict[str, float] = {"pairs": len(chosen)}
    for size in SIZES:
        pairs = [(resized(a, size), resized(b, size)) for a, b in chosen]
        compare(*pairs[0])
        started = time.process_time()
        for pair in pairs:
            compare(*pair)
        found[f"per_cpu_second_{size[0]}x{size[1]}"] = len(pairs) / (time.process_time() - started)
    local_ray.start(4)
    try:
        serve.start(proxy_location="Disabled")
        handle = serve.run(deployment(Config()), name="judge", route_prefix=None)
        found |= asyncio.run(hops([(resized(a, SIZES[0]), resized(b, SIZES[0])) for a, b in chosen], handle))
    finally:
        serve.shutdown()
        ray.shutdown()
    found |= {"serve/plain": found["serve_ms"] / found["plain_ms"], "hit/plain": found["hit_ms"] / found["plain_ms"]}
    rates = ", ".join(f"{found[f'per_cpu_second_{w}x{h}']:.0f} at {w}x{h}" for w, h in SIZES)
    print(f"comparisons a second on one core: {rates}")
    print(
        f"a verdict: {found['plain_ms']:.1f} ms in process, {found['serve_ms']:.1f} ms by Serve handle "
        f"({found['serve/plain']:.2f}x), {found['hit_ms']:.1f} ms out of the cache"
    )
    return found
