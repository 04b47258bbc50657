"""The real run, nothing slept: the embedded default at max_staleness 0 and 2, in turns, on the same machine.

On two cores the engine, the renderer and the learner share the processors, so there is little to overlap; the ratio
says how much. The first steps of each run fill the pipeline and are left out.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

STEPS, WARM, ROUNDS = 12, 3, 2
FIGURES = ("step_s", "wait_s", "update_s", "sync_s", "sync_pause_s", "staleness_mean", "trajectories_per_s")


def main(out_dir: Path) -> dict[str, Any]:
    runs: dict[int, list[dict[str, float]]] = {0: [], 2: []}
    for _ in range(ROUNDS):
        for bound, rows in runs.items():
            rows.append(measure(bound))
            print(f"max_staleness {bound}: {rows[-1]}", flush=True)
    ratio = fmean(r["step_s"] for r in runs[0]) / fmean(r["step_s"] for r in runs[2])
    print(f"a step at max_staleness 2 is {ratio:.2f}x as fast as at 0")
    return {"by_bound": {str(b): rows for b, rows in runs.items()}, "faster_than_synchronous": round(ratio, 2)}


def measure(bound: int) -> dict[str, float]:
    """Means over the steps of one run."""
    with tempfile.TemporaryDirectory() as folder:
        options = [f"run.dir={folder}", f"run.steps={STEPS}", f"queue.max_staleness={bound}"]
        command = [sys.executable, "-m", "training.train", "configs/tiny_chart.yaml", *options]
        subprocess.run([*command, "evaluate.before_after=false"], check=True, timeout=900, stdout=subprocess.DEVNULL)
        lines = (Path(folder) / "tiny_chart" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines][WARM:]
    found = {name: round(fmean(row[name] for row in rows), 3) for name in FIGURES}
    worst = max(row["staleness_max"] for row in rows)
    assert worst <= bound, f"a batch was {worst} versions old, the bound is {bound}"
    return found | {"learner_idle": round(found["wait_s"] / found["step_s"], 3), "staleness_max": worst}
