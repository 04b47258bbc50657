"""Charts on one core: the jailed fork server against a fresh interpreter each and against an equally patched loop.

The three take turns, so that a change of the machine's pace meets all of them. Wall times are what a quiet machine
would take; processor time holds on a busy one too.
"""

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from configs.schema import Render
from serving import sandbox
from serving.charts import ChartRenderer

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
LOOP = """import sys, time
from serving.chart_server import Capture
from serving.chart_warm import HEAVY, LIGHT, warm
from serving.charts import encode_png
warm(HEAVY + LIGHT)
from matplotlib import pyplot
capture = Capture(4_000_000)
code = compile(sys.argv[1], "x", "exec")
def render():
    capture.picture, capture._rank = None, 0
    exec(code, {"__name__": "__main__"})
    if capture.picture is None:
        capture.current(rank=1)
    encode_png(*capture.picture)
    pyplot.close("all")
render()
print(flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    for _ in range(int(line)):
        render()
    print(time.perf_counter() - started, flush=True)
"""


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


async def measure(program: str) -> dict[str, float]:
    """Median milliseconds of one render each way, and the processor time of the two fast ones."""
    environment = os.environ | sandbox.environment(namespaces=True, scratch="") | {"PYTHONPATH": str(sandbox.ROOT)}
    taken: dict[str, list[float]] = {"fresh": [], "jailed": [], "loop": []}
    used = {"jailed": 0.0, "loop": 0.0}
    renderer = ChartRenderer(Render())
    warm_up = await renderer.render(program)
    assert warm_up.ok, warm_up.message
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", LOOP, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=environment, cwd=sandbox.ROOT,
        ) as loop,
    ):  # fmt: skip
        assert loop.stdin is not None and loop.stdout is not None
        loop.stdout.readline()
        saved = program + "\nplt.savefig('x.png')\n"
        for _ in range(ROUNDS):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", saved], env=environment, cwd=folder, timeout=60, check=True)
            taken["fresh"].append(time.perf_counter() - started)
            before = processor_s(renderer.pids[-1]) + time.process_time()
            started = time.perf_counter()
            for _ in range(EACH):
                await renderer.render(program)
            taken["jailed"].append((time.perf_counter() - started) / EACH)
            used["jailed"] += processor_s(renderer.pids[-1]) + time.process_time() - before
            before = processor_s(loop.pid)
            print(EACH, file=loop.stdin, flush=True)
            taken["loop"].append(float(loop.stdout.readline()) / EACH)
            used["loop"] += processor_s(loop.pid) - before
        loop.stdin.close()
    await renderer.close()
    cpu = {f"{way}_cpu": 1000 * seconds / (ROUNDS * EACH) for way, seconds in used.items()}
    return {way: 1000 * statistics.median(seconds) for way, seconds in taken.items()} | cpu


def main(out_dir: Path) -> dict:
    """Milliseconds a render and the two ratios, for each program."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    found: dict[str, dict[str, float]] = {}
    try:
        for name, program in PROGRAMS.items():
            ms = asyncio.run(measure(program))
            ratios = {
                "fresh/jailed": ms["fresh"] / ms["jailed"],
                "loop/jailed": ms["loop"] / ms["jailed"],
                "loop/jailed cpu": ms["loop_cpu"] / ms["jailed_cpu"],
            }
            found[name] = {**{f"{way}_ms": value for way, value in ms.items()}, **ratios}
            print(
                f"{name:8} fresh {ms['fresh']:.0f} ms, jailed {ms['jailed']:.1f} ms, loop {ms['loop']:.1f} ms: "
                f"{ratios['fresh/jailed']:.1f}x a fresh interpreter, {100 * ratios['loop/jailed']:.0f}% of the loop "
                f"({100 * ratios['loop/jailed cpu']:.0f}% by processor time)"
            )
    finally:
        os.sched_setaffinity(0, cores)
    return found
