"""Charts on one core: the jailed fork server against a fresh interpreter each and against an equally patched loop.

The three take turns, so that a change of the machine's pace meets all of them: over three small programs again and
again, and over every fifth of the programs that models have written, each drawn once before it counts, so that the loop
has its caches warm. Wall times are what a quiet machine would take; processor time holds on a busy one too.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from configs.schema import Render
from serving.render import sandbox
from serving.render.charts import HEAVY_NAMES, ChartRenderer
from tests.data import real

WRITTEN_ROUNDS = 3
EVERY = 5  # of the programs that models have written, one in so many
SLOW_EVERY = 5  # and of those, a fresh interpreter runs one in so many
ROUNDS = 8
EACH = 10  # renders of a fast way in one round; one of the slow way
PROGRAMS = {
    "small": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2.1, 1.75), dpi=80)\n"
    "plt.bar([1, 2, 3], [4, 5, 6], color='red')\nplt.title('Sales')\n",
    "bars": "import matplotlib.pyplot as plt\nimport numpy as np\nx = np.arange(4)\nfig, ax = plt.subplots()\n"
    "ax.bar(x, [3, 5, 2, 4], 0.4, label='A')\nax.bar(x + 0.4, [4, 1, 6, 2], 0.4, label='B')\nax.legend()\n"
    "ax.set_title('Sales')\nplt.savefig('x.png')\n",
    "seaborn": "import pandas as pd, seaborn as sns, matplotlib.pyplot as plt\n"
    "sns.barplot(pd.DataFrame({'x': list('abc'), 'y': [1, 3, 2]}), x='x', y='y')\nplt.show()\n",
}
# the server's own settings, capture and encoder in a loop without fork or jail: the limit
LOOP = """import json, sys, time
from serving.jailed.capture import Capture
from serving.jailed.warmup import HEAVY, LIGHT, warm
from serving.render.charts import encode_png
warm(HEAVY + LIGHT if sys.argv[1] == "True" else LIGHT)
import matplotlib
from matplotlib import pyplot
settings = dict(matplotlib.rcParams)
capture = Capture(4_000_000)
for line in sys.stdin:
    source, times = json.loads(line)
    started = time.perf_counter()
    for _ in range(times):
        capture.picture, capture._place, capture._by_hand = None, (False, 0), None
        exec(compile(source, "x", "exec"), {"__name__": "__main__"})
        capture.end()
        encode_png(*capture.picture)
        pyplot.close("all")
    print(time.perf_counter() - started, flush=True)
    matplotlib.rcParams.update(settings)
"""


class Loop:
    """The loop's process, in a folder of its own."""

    def __init__(self, heavy: bool, folder: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", LOOP, str(heavy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environment, cwd=folder,
        )  # fmt: skip

    def seconds(self, program: str, times: int) -> float:
        """Seconds of `times` renders. Raises ValueError where the program ended the loop."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps([program, times]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def processor_s(pid: int) -> float:
    """User and system time of a process, its descendants and all that they reaped."""
    total, parents = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parents[int(entry)], total[int(entry)] = int(fields[1]), sum(map(int, fields[11:15]))
    family, ticks = {pid}, 0
    while family:
        ticks += sum(total.get(member, 0) for member in family)
        family = {child for child, parent in parents.items() if parent in family}
    return ticks / os.sysconf("SC_CLK_TCK")


def fresh_seconds(program: str, folder: str, environment: dict[str, str]) -> float:
    """Seconds of an interpreter that runs the program and saves its figure."""
    started = time.perf_counter()
    saved = program + "\nimport matplotlib.pyplot\nmatplotlib.pyplot.savefig('x.png')\n"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", saved], env=environment, cwd=folder, timeout=60, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


async def again_and_again(program: str, folder: str, environment: dict[str, str]) -> dict[str, float]:
    """Median milliseconds of one render each way, and the processor time of the two fast ones."""
    taken: dict[str, list[float]] = {"fresh": [], "jailed": [], "loop": []}
    used = {"jailed": 0.0, "loop": 0.0}
    renderer, loop = ChartRenderer(Render()), Loop(HEAVY_NAMES.search(program) is not None, folder, environment)
    warm_up = await renderer.render(program)
    assert warm_up.ok, warm_up.message
    loop.seconds(program, 1)
    for _ in range(ROUNDS):
        taken["fresh"].append(fresh_seconds(program, folder, environment))
        before = processor_s(renderer.pids[-1]) + time.process_time()
        started = time.perf_counter()
        for _ in range(EACH):
            await renderer.render(program)
        taken["jailed"].append((time.perf_counter() - started) / EACH)
        used["jailed"] += processor_s(renderer.pids[-1]) + time.process_time() - before
        before = processor_s(loop.process.pid)
        taken["loop"].append(loop.seconds(program, EACH) / EACH)
        used["loop"] += processor_s(loop.process.pid) - before
    loop.end()
    await renderer.close()
    cpu = {f"{way}_cpu": 1000 * seconds / (ROUNDS * EACH) for way, seconds in used.items()}
    return {way: 1000 * statistics.median(seconds) for way, seconds in taken.items()} | cpu


async def model_written(folder: str, environment: dict[str, str]) -> dict[str, float]:
    """The programs that models have written, which every way draws: mean milliseconds, and ratios."""
    programs = [json.loads(line) for line in real("vlm_programs.jsonl").read_text().splitlines()][::EVERY]
    renderer = ChartRenderer(Render())
    loops = {heavy: Loop(heavy, folder, environment) for heavy in (False, True)}
    rows: list[tuple[float, float]] = []
    slow: list[tuple[float, float]] = []
    for program in (row["code"] for row in programs if row["ran_in_matplotlib_3_8_4"]):
        loop = loops[HEAVY_NAMES.search(program) is not None]
        if not (await renderer.render(program)).ok:
            continue
        loop.seconds(program, 1)
        jailed, looped = [], []
        for _ in range(WRITTEN_ROUNDS):
            started = time.perf_counter()
            await renderer.render(program)
            jailed.append(time.perf_counter() - started)
            looped.append(loop.seconds(program, 1))
        rows.append((statistics.median(jailed), statistics.median(looped)))
        if len(rows) % SLOW_EVERY == 1:
            slow.append((fresh_seconds(program, folder, environment), rows[-1][0]))
    for loop in loops.values():
        loop.end()
    await renderer.close()
    return {
        "programs": len(rows),
        "jailed_ms": 1000 * statistics.mean(jailed for jailed, _ in rows),
        "loop_ms": 1000 * statistics.mean(looped for _, looped in rows),
        "loop/jailed": sum(looped for _, looped in rows) / sum(jailed for jailed, _ in rows),
        "loop/jailed median": statistics.median(looped / jailed for jailed, looped in rows),
        "from_80": sum(looped >= 0.8 * jailed for jailed, looped in rows) / len(rows),
        "fresh/jailed": sum(fresh for fresh, _ in slow) / sum(jailed for _, jailed in slow),
    }


def main(out_dir: Path) -> dict:
    """Milliseconds a render and the ratios, for each small program and for what models have written."""
    environment = os.environ | sandbox.environment(namespaces=True, scratch="") | {"PYTHONPATH": str(sandbox.ROOT)}
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    found: dict[str, dict[str, float]] = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, program in PROGRAMS.items():
                ms = asyncio.run(again_and_again(program, folder, environment))
                ratios = {
                    "fresh/jailed": ms["fresh"] / ms["jailed"],
                    "loop/jailed": ms["loop"] / ms["jailed"],
                    "loop/jailed cpu": ms["loop_cpu"] / ms["jailed_cpu"],
                }
                found[name] = {**{f"{way}_ms": value for way, value in ms.items()}, **ratios}
                print(
                    f"{name:8} fresh {ms['fresh']:.0f} ms, jailed {ms['jailed']:.1f} ms, loop {ms['loop']:.1f} ms: "
                    f"{ratios['fresh/jailed']:.1f}x a fresh interpreter, {100 * ratios['loop/jailed']:.0f}% of the "
                    f"loop ({100 * ratios['loop/jailed cpu']:.0f}% by processor time)",
                    flush=True,
                )
            written = found["written by models"] = asyncio.run(model_written(folder, environment))
            print(
                f"{written['programs']} programs written by models: jailed {written['jailed_ms']:.0f} ms, "
                f"loop {written['loop_ms']:.0f} ms: {written['fresh/jailed']:.1f}x a fresh interpreter, "
                f"{100 * written['loop/jailed']:.0f}% of the loop in sum, {100 * written['loop/jailed median']:.0f}% "
                f"in the median, 80% or more for {100 * written['from_80']:.0f}% of them"
            )
    finally:
        os.sched_setaffinity(0, cores)
    return found
