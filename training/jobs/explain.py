"""Where did my step go: seconds by cause, idle time, wasted work, and what the next unit of each resource would buy.

Guarantees: computed from the run's files alone (serving.viewer.step_time says how, serving.viewer.queueing_model states
the model and what it leaves out); `--against` predicts another run's step time from this run's demands and that run's
layout, and says how far off that is from what the other run measured.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from serving.viewer.queueing_model import Demands, Layout, step_seconds
from serving.viewer.run_folder import RunFolder
from serving.viewer.step_time import PHASES, explain


def read(path: Path) -> dict[str, Any]:
    """The explanation of a run's folder. Raises ValueError where it has no trace."""
    run = RunFolder(path)
    run.refresh()
    found = explain(run)
    if not found["steps"]:
        raise ValueError(f"{path}: no finished step with a trace (metrics.jsonl, trajectories/)")
    return found


def against(this: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """The other run's step as predicted from this run, and as measured. Both by the same model: what is carried over is
    the ratio of the model's figures, so that a bias which both share drops out."""
    if "layout" not in this or "layout" not in other:
        raise ValueError("both runs need a readable config.yaml")
    need, have = Demands(**this["demands"]), Layout(**other["layout"])
    ratio = step_seconds(need, have)["step"] / this["model"]["step"]
    predicted = ratio * this["step_s"]
    return {"predicted_s": predicted, "measured_s": other["step_s"], "error": predicted / other["step_s"] - 1}


def show(found: dict[str, Any], console: Console) -> None:
    step = found["step_s"]
    table = Table("cause", "s", "share", title=f"a step: {step:.2f} s (mean of {found['counted']} of {found['steps']})")
    for cause, seconds in sorted(found["by_cause"].items(), key=lambda item: -item[1]):
        if seconds > 0.005 * step:
            table.add_row(cause, f"{seconds:.2f}", f"{seconds / step:.0%}")
    console.print(table)
    idle = found["idle"]
    parts = [f"{part} {idle[part]:.0%}" for part in ("learner", "engine", "render", "judge") if part in idle]
    console.print("idle: " + ", ".join(parts))
    console.print("requests at once: " + ", ".join(f"{p} {idle[f'{p}_requests']:.1f}" for p in PHASES))
    table = Table("state of the group", "groups", "void", "tokens", "share", *(f"{p} s" for p in PHASES), title="work")
    for row in found["wasted"]:
        spent = [f"{row[p]:.0f}" for p in PHASES]
        counts = str(row["groups"]), str(row["void"]), f"{row['tokens']:,}"
        table.add_row(row["state"], *counts, f"{row['share']:.1%}", *spent)
    console.print(table)
    if "model" not in found:
        return
    model = found["model"]
    table = Table("with", "s a step", "faster", title="what the next unit would buy")
    for row in found["next_units"]:
        table.add_row(row["unit"], f"{row['step_s']:.2f}", f"{row['faster']:.1%}")
    console.print(table)
    console.print(
        f"model: a batch takes {model['rollouts']:.2f} s to play and {model['learner']:.2f} s to learn from, hence "
        f"{model['step']:.2f} s a step: {model['error']:+.0%} of what was measured; units with processors of their own"
    )


def report(folder: Path, other: Path | None, as_json: bool) -> None:
    """Print the explanation of a run's folder, and its prediction of the `other` run. Raises OSError, ValueError."""
    found = read(folder)
    if other is not None:
        found["against"] = against(found, read(other))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    show(found, console)
    if other is not None:
        guess = found["against"]
        console.print(
            f"{other}: predicted {guess['predicted_s']:.2f} s a step, measured {guess['measured_s']:.2f} s "
            f"({guess['error']:+.0%})"
        )
