"""What the experiment found: results.json, results.md, curves.png (bands over seeds) and pictures.png.

Guarantees: every figure is computed from the rows that the arms kept, one mean a seed, then mean and standard deviation
over seeds; the number of pictures and of seeds stands beside them.
"""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from configs.schema import Config
from training.evaluation.heldout import Row, scores
from training.jobs.feedback_use import CONDITIONS
from training.run.report import pictures, smooth

ARMS = ("base", "SFT", "RRVF")
COLOURS = {"base": "#777777", "SFT": "#a8541f", "RRVF": "#1f5fa8"}
SETS = {"held-out images": "heldout", "third renderer": "third"}  # name in the table -> evaluated set
METRICS = {
    "exec_rate": "runs",
    "similarity": "similarity",
    "type_accuracy": "right kind",
    "text_accuracy": "right words",
}

Evaluation = dict[str, dict[str, list[Row]]]  # set -> sampling -> rows


def report(folder: Path, config: Config, seeds: int) -> str:
    """Write everything into `folder`; the table as Markdown."""
    found = [arms_of(folder, seed) for seed in range(seeds)]
    results = table(found)
    seconds = cost(folder, seeds)
    facts = {
        "seeds": seeds,
        "steps": config.run.steps,
        "sequences_per_step": config.queue.groups_per_step * config.rollout.group_size,
        "training_s": seconds,
        "feedback": [json.loads((folder / f"rrvf-{seed}" / "feedback_use.json").read_text()) for seed in range(seeds)],
    }
    (folder / "results.json").write_text(json.dumps({**facts, "results": results}, indent=2) + "\n")
    text = markdown(results, facts)
    (folder / "results.md").write_text(text)
    curves(folder, seeds, folder / "curves.png")
    pictures([(arm, _shown(found[0][arm])) for arm in ARMS], folder / "pictures.png")
    return text


def arms_of(folder: Path, seed: int) -> dict[str, Evaluation]:
    """What each arm of one seed was measured to do."""

    def read(run: str, when: str) -> Evaluation:
        return pickle.loads((folder / f"{run}-{seed}" / f"evaluation_{when}.pkl").read_bytes())

    return {"base": read("rrvf", "before"), "SFT": read("sft", "after"), "RRVF": read("rrvf", "after")}


def table(found: Sequence[dict[str, Evaluation]]) -> dict[str, Any]:
    """set -> sampling -> arm -> metric -> {mean, sd (over seeds), seeds}; `n` pictures a seed."""
    result: dict[str, Any] = {}
    for title, name in SETS.items():
        for mode in ("sampled", "greedy"):
            for arm in ARMS:
                each = [scores(one[arm][name][mode]) for one in found]
                cell = result.setdefault(title, {}).setdefault(mode, {}).setdefault(arm, {"n": [s.n for s in each]})
                for metric in METRICS:
                    values = [getattr(s, metric) for s in each]
                    spread = stdev(values) if len(values) > 1 else None
                    cell[metric] = {"mean": fmean(values), "sd": spread, "seeds": values}
    return result


def cost(folder: Path, seeds: int) -> dict[str, list[float]]:
    """Seconds that the optimiser steps of each arm took, waiting for trajectories included."""
    files = {"SFT": ("sft", "sft.jsonl"), "RRVF": ("rrvf", "metrics.jsonl")}
    return {
        arm: [round(sum(line["step_s"] for line in _lines(folder / f"{run}-{s}" / name)), 1) for s in range(seeds)]
        for arm, (run, name) in files.items()
    }


def markdown(results: dict[str, Any], facts: dict[str, Any]) -> str:
    lines = [
        f"# Base, SFT and RRVF: {facts['seeds']} seeds",
        "",
        f"Single-turn, no tool. Both arms: {facts['steps']} steps of {facts['sequences_per_step']} sequences, from the "
        "same base; mean and standard deviation over seeds.",
        "",
        "| set | sampling | policy | n | " + " | ".join(METRICS.values()) + " |",
        "|---|---|---|---|" + "---|" * len(METRICS),
    ]
    for title, modes in results.items():
        for mode, arms in modes.items():
            for arm, cell in arms.items():
                values = " | ".join(_percent(cell[metric]) for metric in METRICS)
                lines.append(f"| {title} | {mode} | {arm} | {sum(cell['n'])} | {values} |")
    lines += ["", "What the words are worth: a second turn after the same first attempt (temperature 1).", ""]
    lines += feedback_table(facts["feedback"])
    spent = ", ".join(f"{arm} {fmean(values):.0f} s" for arm, values in facts["training_s"].items())
    lines += ["", f"Optimiser steps took, rollouts included: {spent} a seed.", ""]
    return "\n".join(lines)


def feedback_table(each: Sequence[dict[str, Any]]) -> list[str]:
    """Second turns by what was said, means over seeds."""
    calls, tried = sum(one["tool_calls"] for one in each), sum(one["tried"] for one in each)
    lines = [
        f"{calls} of {tried} first attempts were tool calls, which alone are answered.",
        "",
        "| first attempt | n | similarity before | words | runs | similarity | same program |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind in ("first attempt ran", "first attempt failed"):
        rows = [one[kind] for one in each if kind in one]
        for words in CONDITIONS if rows else ():
            means = [fmean(row[words][key] for row in rows) for key in ("runs", "similarity", "repeated")]
            cells = " | ".join(f"{100 * mean:.1f}%" for mean in means)
            before = fmean(row["similarity_before"] for row in rows)
            lines.append(f"| {kind[14:]} | {sum(r['n'] for r in rows)} | {100 * before:.1f}% | {words} | {cells} |")
    return lines


def _percent(value: dict[str, Any]) -> str:
    spread = "" if value["sd"] is None else f" ± {100 * value['sd']:.1f}"
    return f"{100 * value['mean']:.1f}{spread}%"


def curves(folder: Path, seeds: int, path: Path) -> None:
    """Reward, programs that run and similarity of RRVF's rollouts, and the loss of SFT: mean and spread over seeds."""
    import numpy as np
    from matplotlib.figure import Figure

    rrvf = [_lines(folder / f"rrvf-{seed}" / "metrics.jsonl") for seed in range(seeds)]
    sft = [_lines(folder / f"sft-{seed}" / "sft.jsonl") for seed in range(seeds)]
    panels = (
        ("RRVF: mean reward", rrvf, "reward", COLOURS["RRVF"]),
        ("RRVF: programs that run", rrvf, "exec_rate", "#2a7f3f"),
        ("RRVF: similarity of final render", rrvf, "similarity", "#6b3fa0"),
        ("SFT: nats a token", sft, "loss", COLOURS["SFT"]),
    )
    figure = Figure(figsize=(14, 3.2), layout="constrained")
    for axes, (title, runs, key, colour) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        count = min(len(run) for run in runs)
        values = np.array([smooth([line[key] for line in run[:count]]) for run in runs])
        steps = [line["step"] for line in runs[0][:count]]
        middle, spread = values.mean(0), values.std(0)
        axes.fill_between(steps, middle - spread, middle + spread, color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, middle, color=colour, linewidth=2)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def _shown(evaluation: Evaluation, each: int = 5) -> list[Row]:
    return evaluation["heldout"]["greedy"][:each] + evaluation["third"]["greedy"][:each]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
