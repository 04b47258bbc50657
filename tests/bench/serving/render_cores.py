"""Charts on one core and on two: what the fork servers gain from the second one, against what plain loops gain.

The four take turns over the programs that models have written: one renderer, two renderers, one loop without fork or
jail, two loops. A machine that others use gives less than twice to anything; the loops say how much it gives now.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from configs.schema import Render
from serving.render import sandbox
from serving.render.charts import HEAVY_NAMES, ChartRenderer
from tests.bench.serving.render_charts import Loop
from tests.data import real

EVERY, ROUNDS = 12, 3


async def measure() -> list[dict[str, float]]:
    """Seconds of each way in each round, over the same programs."""
    rows = [json.loads(line) for line in real("vlm_programs.jsonl").read_text().splitlines()][::EVERY]
    programs = [r["code"] for r in rows if r["ran_in_matplotlib_3_8_4"] and not HEAVY_NAMES.search(r["code"])]
    environment = os.environ | sandbox.environment(namespaces=True, scratch="") | {"PYTHONPATH": str(sandbox.ROOT)}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        renderers = [ChartRenderer(Render()) for _ in range(2)]
        loops = [Loop(False, folder, environment) for _ in range(2)]

        async def rendered(number: int, share: list[str]) -> None:
            for program in share:
                await renderers[number].render(program)

        async def looped(number: int, share: list[str]) -> None:
            for program in share:
                await asyncio.to_thread(loops[number].seconds, program, 1)

        try:
            for number in range(2):  # their caches warm
                await asyncio.gather(rendered(number, programs), looped(number, programs))
            for _ in range(ROUNDS):
                taken = {}
                for name, way in (("jailed", rendered), ("loop", looped)):
                    for workers in (1, 2):
                        started = time.perf_counter()
                        await asyncio.gather(*(way(n, programs[n::workers]) for n in range(workers)))
                        taken[f"{name} {workers}"] = time.perf_counter() - started
                found.append(taken)
        finally:
            for loop in loops:
                loop.end()
            for renderer in renderers:
                await renderer.close()
    return found


def main(out_dir: Path) -> dict:
    """The gain of a second core: of the fork servers, of the loops, and the one against the other."""
    rounds = asyncio.run(measure())
    seconds = {way: statistics.median(taken[way] for taken in rounds) for way in rounds[0]}
    speedup = {
        name: statistics.median(taken[f"{name} 1"] / taken[f"{name} 2"] for taken in rounds)
        for name in ("jailed", "loop")
    }
    print(f"two cores against one: jailed {speedup['jailed']:.2f} times, loops {speedup['loop']:.2f} times; "
          f"two renderers at {100 * seconds['loop 2'] / seconds['jailed 2']:.0f}% of two loops")  # fmt: skip
    return {**{f"{way}_s": value for way, value in seconds.items()}, **{f"{k} gain": v for k, v in speedup.items()},
            "two loops/two jailed": seconds["loop 2"] / seconds["jailed 2"]}  # fmt: skip
