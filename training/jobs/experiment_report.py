"""What the experiment found: results.json, results.md, curves.png (bands over seeds) and pictures.png.

Guarantees: every figure is computed from the rows that the arms kept; an arm's figure is the mean over its seeds, with
their standard deviation; differences are paired by picture, with intervals over seeds and pictures
(training/evaluation/paired.py); the number of pictures and of seeds stands beside them.
"""

import asyncio
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from actors.files import write_whole
from configs.schema import Config
from training.data.image_sets import ImageSet
from training.data.own_images import rendered
from training.evaluation.heldout import Evaluation, Row
from training.evaluation.paired import difference
from training.jobs.experiment import AFTER, ARMS, Arm, known
from training.run.report import figures, pictures, smooth

NAMES = {
    "heldout": "held-out pictures of the new renderer",
    "third": "third renderer",
    "gallery": "pages of a form that was never shown",
    "own": "what the base learned from",
}
COMPARED = ("similarity", "value", "count", "kind", "colour", "word")
COLOURS = {"rrvf": "#1f5fa8", "runs": "#a8541f", "exchanged": "#6b3fa0", "direct": "#2e8b57", "turns": "#b03060"}

Seeds = list[Evaluation]  # one a seed; the base, which all seeds share, is there once


def report(folder: Path, config: Config, seeds: int, sets: Sequence[ImageSet], arms: Sequence[Arm] = ARMS) -> str:
    """Write everything into `folder`; the table as Markdown."""
    found: dict[str, Seeds] = {"base": [_read(folder / "base")]}
    found |= {arm.name: [_read(folder / f"{arm.name}-{seed}") for seed in range(seeds)] for arm in arms}
    facts = {
        "seeds": seeds,
        "steps": config.run.steps,
        "sequences_per_step": config.queue.groups_per_step * config.rollout.group_size,
        "true_programs": {images.name: true_programs(config, images) for images in sets},
        "rates": {
            arm.name: json.loads(path.read_text()) for arm in arms if (path := _rates(folder, arm.name)).exists()
        },
        "turns": {arm.name: turns_of(folder, arm.name, seeds) for arm in arms if arm.pairs is None},
    }
    results = table(found)
    compared = comparisons(found)
    text = markdown(results, compared, facts, arms)
    whole = {**facts, "results": results, "differences": compared}
    write_whole(folder / "results.json", json.dumps(whole, indent=2) + "\n")
    write_whole(folder / "results.md", text)
    curves(folder, [arm.name for arm in arms if arm.pairs is None], seeds, folder / "curves.png")
    shown, rows = [images.name for images in sets[:2]], list(found)[:3]
    pictures([(arm, _shown(found[arm][0], shown)) for arm in rows], folder / "pictures.png")
    return text


def _read(run: Path) -> Evaluation:
    found: Evaluation = pickle.loads((run / AFTER).read_bytes())
    return found


def _rates(folder: Path, arm: str) -> Path:
    return folder / f"{arm}-rate.json"


def true_programs(config: Config, images: ImageSet) -> float:
    """Mean similarity of what the plain programs of the facts draw: about what there is to reach."""
    from serving.judge.perceptual import compare

    domain, shown_by = config.data.domain, known(config).shown_by
    sources = [shown_by(facts).program for facts in images.facts]
    results = asyncio.run(rendered(sources, domain, config.render))
    scores = [
        compare(Path(path).read_bytes(), result.png, domain).score if result.png is not None else 0.0
        for path, result in zip(images.paths, results, strict=True)
    ]
    return fmean(scores)


def values(seeds: Seeds, name: str, mode: str, figure: str) -> list[list[float]]:
    """(seeds, pictures) of one figure."""
    return [[figures(row)[figure] for row in one[name][mode]] for one in seeds]


def table(found: dict[str, Seeds]) -> dict[str, Any]:
    """set -> mode -> arm -> figure -> {mean, sd (over seeds), chance}; `n` pictures."""
    result: dict[str, Any] = {}
    for name, modes in found["base"][0].items():
        for mode in modes:
            for arm, seeds in found.items():
                if mode not in seeds[0][name]:
                    continue
                rows = seeds[0][name][mode]
                cell: dict[str, Any] = {"n": len(rows)}
                for figure in figures(rows[0]):
                    each = [fmean(one) for one in values(seeds, name, mode, figure)]
                    cell[figure] = {"mean": fmean(each), "sd": stdev(each) if len(each) > 1 else None}
                    if figure in rows[0].chance:
                        cell[figure]["chance"] = fmean(r.chance[figure] for one in seeds for r in one[name][mode])
                result.setdefault(name, {}).setdefault(mode, {})[arm] = cell
    return result


def comparisons(found: dict[str, Seeds]) -> dict[str, Any]:
    """set -> mode -> "rrvf - ARM" -> figure -> [mean, low, high]."""
    result: dict[str, Any] = {}
    for name, modes in found["rrvf"][0].items():
        for mode in modes:
            for arm in (name for name in found if name != "rrvf"):
                if mode not in found[arm][0][name]:
                    continue
                figures_of = figures(found["rrvf"][0][name][mode][0])
                result.setdefault(name, {}).setdefault(mode, {})[f"rrvf - {arm}"] = {
                    figure: difference(
                        values(found["rrvf"], name, mode, figure), values(found[arm], name, mode, figure)
                    )
                    for figure in COMPARED
                    if figure in figures_of
                }
    return result


def turns_of(folder: Path, arm: str, seeds: int) -> float:
    """Turns of a trajectory, each of which renders a program; mean over steps and seeds."""
    runs = [_lines(folder / f"{arm}-{seed}" / "metrics.jsonl") for seed in range(seeds)]
    return fmean(line["turns"] for run in runs for line in run)


def markdown(results: dict[str, Any], compared: dict[str, Any], facts: dict[str, Any], arms: Sequence[Arm]) -> str:
    lines = [
        f"# Learning from pictures alone: {facts['seeds']} seeds, {facts['steps']} steps of "
        f"{facts['sequences_per_step']} sequences",
        "",
        "One answer a picture, no tool. Mean and standard deviation over seeds; `chance`: RRVF's answers against other "
        "pictures.",
    ]
    for name, modes in results.items():
        lines += ["", f"## {NAMES.get(name, name)} (true programs: {facts['true_programs'][name]:.3f})"]
        for mode, by_arm in modes.items():
            lines += ["", *_mode(mode, by_arm)]
            for pair, by in compared[name].get(mode, {}).items():
                cells = [f"{figure} {m:+.3f} ({low:+.3f} to {high:+.3f})" for figure, (m, low, high) in by.items()]
                lines.append(f"- {pair}: " + ", ".join(cells))
    lines += ["", "Arms:", "", *(f"- **{arm.name}**: {arm.meaning}" for arm in arms)]
    lines.append("- turns a trajectory: " + ", ".join(f"{arm} {n:.2f}" for arm, n in facts["turns"].items()))
    for arm, rates in facts["rates"].items():
        tried = ", ".join(f"{rate} {score:.3f}" for rate, score in rates["rates"].items())
        lines.append(f"- {arm}: learning rate {rates['best']} (validation similarity: {tried})")
    return "\n".join([*lines, ""])


def _mode(mode: str, arms: dict[str, Any]) -> list[str]:
    names = [figure for figure in next(iter(arms.values())) if figure != "n"]
    n = next(iter(arms.values()))["n"]
    lines = [f"| {mode}, n = {n} | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for arm, cell in arms.items():
        lines.append(f"| {arm} | " + " | ".join(_cell(cell[figure]) for figure in names) + " |")
    chances = arms.get("rrvf", {})
    row = [f"{chances[f]['chance']:.3f}" if "chance" in chances.get(f, {}) else "-" for f in names]
    return [*lines, "| chance | " + " | ".join(row) + " |", ""]


def _cell(value: dict[str, Any]) -> str:
    return f"{value['mean']:.3f}" + ("" if value["sd"] is None else f" ± {value['sd']:.3f}")


def curves(folder: Path, arms: Sequence[str], seeds: int, path: Path) -> None:
    """Reward, programs that run and similarity of the rollouts of these arms: mean and spread."""
    import numpy as np
    from matplotlib.figure import Figure

    panels = {"reward": "mean reward", "exec_rate": "programs that run", "similarity": "similarity of final render"}
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for arm in arms:
            colour = COLOURS[arm]
            runs = [_lines(folder / f"{arm}-{seed}" / "metrics.jsonl") for seed in range(seeds)]
            count = min(len(run) for run in runs)
            curve = np.array([smooth([line[key] for line in run[:count]]) for run in runs])
            steps = [line["step"] for line in runs[0][:count]]
            middle, spread = curve.mean(0), curve.std(0)
            axes.fill_between(steps, middle - spread, middle + spread, color=colour, alpha=0.2, linewidth=0)
            axes.plot(steps, middle, color=colour, linewidth=2, label=arm)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def _shown(evaluation: Evaluation, names: Sequence[str], each: int = 5) -> list[Row]:
    return [row for name in names for row in evaluation[name]["greedy"][:each]]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
