"""The benchmarks' own evaluators as the other side of a bench: run from the user's clones, in a process that stays.

RRVF_OFFICIAL names a folder with the clones ChartMimic, Plot2Code and Design2Code, RRVF_OFFICIAL_PYTHON a `python3`
with what they need (this one if unset); RRVF_OFFICIAL_SHOWN=1 shows what they print. Guarantees: nothing of them lies
here, they are imported from there; what starts once an evaluation (interpreter, imports) is left out of a pair's
seconds, which is to their advantage; what they start for each pair counts. ChartMimic: its four low-level evaluators.
Plot2Code: execution and text match. Design2Code: all of it, with the clone's own CLIP or what stands in for it.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.data import real

PAIR_S = 1800.0  # of one pair; Design2Code's longest took two minutes on a busy machine
LOOP = """import contextlib, io, json, os, runpy, sys, time
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what they and theirs print is no answer
clone, here = sys.argv[1], os.getcwd()
{setup}
for line in sys.stdin:
    golden, generated = json.loads(line)
    started = time.perf_counter()
    try:
        pair(golden, generated)
    except Exception as error:
        print(repr(error), file=sys.stderr)
    print(time.perf_counter() - started, file=out, flush=True)
"""
CHARTMIMIC = """import re
for name in ("chart2code", "eval_configs"):
    os.symlink(f"{clone}/{name}", name)
os.environ["PROJECT_PATH"] = here
sys.path.insert(0, here)
from chart2code.utils.evaluator.chart_type_evaluator import ChartTypeEvaluator
from chart2code.utils.evaluator.color_evaluator import ColorEvaluator
from chart2code.utils.evaluator.layout_evaluator import LayoutEvaluator
from chart2code.utils.evaluator.text_evaluator import TextEvaluator
made = TextEvaluator(use_position=False, use_axs=False), ChartTypeEvaluator(), ColorEvaluator(), LayoutEvaluator()
def pair(golden, generated):
    for name, source in (("golden", golden), ("generated", generated)):
        source = re.sub(r"plt\\.savefig\\(.*", "", source, flags=re.S)
        with open(f"{here}/{name}.py", "w") as file:
            file.write(source + f"\\nplt.savefig('{here}/{name}.pdf')\\n")
    for evaluator in made:
        open(f"{here}/golden.pdf", "a").close()  # each removes it
        evaluator(generation_code_file=f"{here}/generated.py", golden_code_file=f"{here}/golden.py")
        print(type(evaluator).__name__, evaluator.metrics["f1"], file=sys.stderr)"""
PLOT2CODE = """sys.path.insert(0, clone)
import matplotlib
matplotlib.use("Agg")
import PIL.Image
os.makedirs("ground")
PIL.Image.new("RGB", (640, 480), "white").save("ground/ground_truth_image_0.png")
sys.argv = ["x", "--model_name", "m", "--ground_truth_code_file", "ground/metadata.jsonl"]
def pair(golden, generated):
    with open("ground/metadata.jsonl", "w") as file:
        print(json.dumps({"code": golden}), file=file)
    os.makedirs("generated_results/m/direct/default", exist_ok=True)
    with open("generated_results/m/direct/default/generated_code.jsonl", "w") as file:
        print(json.dumps({"code": generated, "ground_truth_path": "ground/ground_truth_image_0.png"}), file=file)
    runpy.run_module("plot2code.execute_generated_code", run_name="__main__")
    runpy.run_module("plot2code.eval.text_match_score", run_name="__main__")
    print(open("evaluation_results/m/direct/default/text_match_score.jsonl").read(), file=sys.stderr)"""
DESIGN2CODE = """os.symlink(f"{clone}/Design2Code/metrics", "metrics")
sys.path.insert(0, clone)
from Design2Code.metrics.visual_score import visual_eval_v3_multi
def pair(golden, generated):
    for name, source in (("golden", golden), ("generated", generated)):
        with open(f"{here}/{name}.html", "w") as file:
            file.write(source)
    print(visual_eval_v3_multi([[f"{here}/generated.html"], f"{here}/golden.html"])[0][2], file=sys.stderr)"""
CLONES = {
    "chartmimic": ("ChartMimic", CHARTMIMIC),
    "plot2code": ("Plot2Code", PLOT2CODE),
    "design2code": ("Design2Code", DESIGN2CODE),
}


def clone_of(benchmark: str) -> Path | None:
    """The clone of a benchmark, where RRVF_OFFICIAL has one."""
    folder = os.environ.get("RRVF_OFFICIAL")
    path = Path(folder, CLONES[benchmark][0]) if folder else None
    return path.resolve() if path is not None and path.is_dir() else None


class Published:
    """The original's evaluator in a process of its own, in a folder of its own."""

    def __init__(self, benchmark: str, clone: Path, beside: Path) -> None:
        """`beside`: a folder whose pictures lie beside the sources."""
        python = os.environ.get("RRVF_OFFICIAL_PYTHON", sys.executable)
        path = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        self._folder = tempfile.TemporaryDirectory()
        for picture in beside.glob("*.jpg"):
            shutil.copy(picture, self._folder.name)
        program = LOOP.format(setup=CLONES[benchmark][1])
        shown = None if os.environ.get("RRVF_OFFICIAL_SHOWN") else subprocess.DEVNULL
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-c", program, str(clone)], text=True, cwd=self._folder.name,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=shown,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PATH": path},
        )  # fmt: skip

    def seconds(self, golden: str, generated: str) -> float:
        """Seconds of one pair of sources. Raises RuntimeError where none come."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps([golden, generated]), file=self._process.stdin, flush=True)
        ready, _, _ = select.select([self._process.stdout], [], [], PAIR_S)
        if line := self._process.stdout.readline() if ready else "":
            return float(line)
        ended = f"gave nothing within {PAIR_S:g} s" if not ready else "has ended"
        raise RuntimeError(f"the original's evaluator {ended}; RRVF_OFFICIAL_SHOWN=1 shows what it prints")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()


async def beside(
    benchmark: str, clone: Path, score: Callable[[str, str], Awaitable[object]]
) -> list[tuple[float, float]]:
    """Seconds of `score` and of the original for each of the pairs that have the original's figures, in turn."""
    folder, both = real("official") / benchmark, []
    rows = [json.loads(line) for line in (folder / "official.jsonl").read_text().splitlines()]
    pairs = [tuple((folder / row[side]).read_text() for side in ("golden", "generated")) for row in rows]
    if benchmark != "design2code":  # programs with and without pandas have servers of their own
        await asyncio.gather(
            *(score(f"{first}import pylab", f"{first}import pylab") for first in ("", "import pandas\n"))
        )
    with Published(benchmark, clone, folder) as published:
        for number, (golden, generated) in enumerate((pairs[0], *pairs)):  # the first warms both
            started = time.perf_counter()
            await score(golden, generated)
            ours = time.perf_counter() - started
            theirs = await asyncio.to_thread(published.seconds, golden, generated)
            if number:
                both.append((ours, theirs))
                print(f"{rows[number - 1]['generated']}: {ours:.2f} s against {theirs:.2f} s", flush=True)
    return both
