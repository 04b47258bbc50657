"""What a run leaves behind: summary.json, summary.md, reward.png (curves) and before_after.png (pictures).

Guarantees: every figure is computed from the run's own files and evaluations, the denominators stand beside them, and
a part that was not measured is `null`, never a zero.
"""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from actors.files import write_whole
from actors.replay.ledger import Entry
from training.evaluation.heldout import Evaluation, Row, difference_ci95, scores


def summary(
    metrics: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    before: Evaluation,
    after: Evaluation,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """The summary as plain data. `metrics`: one line a step; `entries`: of the ledger; `facts`: what only the driver
    knows (wall_s, setup_s, engine, seed, bound, group_size, sizes)."""
    trained = [e for e in entries if e.state == "consumed"]
    counts = {s: sum(e.state == s for e in entries) for s in ("consumed", "stale", "zero_variance", "failed", "lost")}
    return {
        "steps": len(metrics),
        "trajectories": sum(m == "done" for e in entries for m in e.members),
        "wall_s": round(facts["wall_s"], 1),
        "setup_s": round(facts["setup_s"], 1),
        "reward": reward_gain(trained),
        "changes": {
            name: {mode: changes(before[name][mode], after[name][mode]) for mode in before[name]}
            for name in before
            if name in after
        },
        "staleness": {
            "mean": _mean(metrics, "staleness_mean"),
            "max": max((m["staleness_max"] for m in metrics), default=None),
            "bound": facts["bound"],
        },
        "weight_versions": max((m["version"] for m in metrics), default=0),
        "in_flight_syncs": sum(m.get("sync_running", 0) > 0 for m in metrics),
        "sync_pause_ms": _mean(metrics, "sync_pause_s", 1000),
        "mismatch_k3": _mean(metrics, "mismatch_k3"),
        "ledger": counts,
        "evaluation": {
            name: {
                mode: {"before": _scores(before, name, mode), "after": _scores(after, name, mode)}
                for mode in ("sampled", "greedy")
            }
            for name in before
        },
        "engine": facts["engine"],
        "model": facts["model"],
        "seed": facts["seed"],
    }


def reward_gain(trained: Sequence[Entry], share: float = 0.2) -> dict[str, Any]:
    """Mean reward of the first and the last fifth of the steps, over groups, and the 95% interval of the difference
    (two-sample normal approximation)."""
    steps = sorted({e.step for e in trained})
    span = max(1, math.ceil(len(steps) * share))
    early, late = set(steps[:span]), set(steps[-span:])
    first = [e.reward for e in trained if e.step in early]
    last = [e.reward for e in trained if e.step in late]
    if len(first) < 2 or len(last) < 2 or len(steps) < 2:
        return {"first": None, "last": None, "delta_ci95": None}
    gap = fmean(last) - fmean(first)
    half = 1.96 * math.sqrt(stdev(first) ** 2 / len(first) + stdev(last) ** 2 / len(last))
    return {
        "first": round(fmean(first), 4),
        "last": round(fmean(last), 4),
        "delta_ci95": [round(gap - half, 4), round(gap + half, 4)],
        "groups": [len(first), len(last)],
    }


def changes(old: Sequence[Row], new: Sequence[Row]) -> dict[str, list[float]]:
    """Mean paired change of every figure over the images, with its 95% interval: [mean, low, high]."""
    found = {}
    for name in figures(old[0]):
        pairs = [[figures(row)[name] for row in rows] for rows in (old, new)]
        found[name] = [round(value, 4) for value in difference_ci95(*pairs)]
    return found


def figures(row: Row) -> dict[str, float]:
    """All figures of one image by their names in tables."""
    return {"runs": float(row.executed), "similarity": row.similarity, **row.read}


def write(
    run: Path, result: dict[str, Any], metrics: Sequence[dict[str, Any]], before: Evaluation, after: Evaluation
) -> None:
    """All four files into RUN."""
    write_whole(run / "summary.json", json.dumps(result, indent=2) + "\n")
    (run / "summary.md").write_text(markdown(result))
    if metrics:
        curves(metrics, run / "reward.png")
    if before and after:
        old, new = next(iter(before.values())), next(iter(after.values()))
        pictures([("before", old["greedy"]), ("after", new["greedy"])], run / "before_after.png")


def markdown(result: dict[str, Any]) -> str:
    lines = [f"# {result['steps']} steps, {result['trajectories']} trajectories, {result['wall_s']:.0f} s"]
    for name, by in result["changes"].items():
        lines += differences(name, result["evaluation"][name], by)
    reward, stale, ledger = result["reward"], result["staleness"], result["ledger"]
    if reward["first"] is not None:
        low, high = reward["delta_ci95"]
        lines += [
            "",
            f"Reward {reward['first']:.3f} -> {reward['last']:.3f} (95% of the change: {low:+.3f} to {high:+.3f}).",
        ]
    lines += [
        "",
        f"Staleness {_round(stale['mean'])} on average, {_round(stale['max'])} at most (bound {stale['bound']}); "
        f"{result['weight_versions']} weight versions, {result['in_flight_syncs']} written with requests in flight, "
        f"{_round(result['sync_pause_ms'])} ms pause each; engine against learner k3 {_round(result['mismatch_k3'])}.",
        "",
        "Groups: " + ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in ledger.items()) + ".",
        "",
        f"Engine {result['engine']}; model {result['model']}; seed {result['seed']}.",
        "",
    ]
    return "\n".join(lines)


def differences(name: str, modes: dict[str, Any], by: dict[str, Any]) -> list[str]:
    """One set before and after, a figure a line; `chance` is what the answers after are worth on other pictures."""
    n = modes["greedy"]["before"]["n"]
    lines = ["", f"**{name}**, {n} images, one answer each, no tool:", ""]
    lines += ["| | " + " | ".join(f"{mode} | 95% of the change" for mode in modes) + " | chance |"]
    lines += ["|---|" + "---|---|" * len(modes) + "---|"]
    for figure in by["greedy"]:
        cells = []
        for mode, pair in modes.items():
            old, new = (_figure(pair[when], figure) for when in ("before", "after"))
            _, low, high = by[mode][figure]
            cells += [f"{_percent(old)} -> {_percent(new)}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
        chance = modes["greedy"]["after"]["chance"].get(figure)
        lines.append(f"| {figure} | " + " | ".join(cells) + f" | {_percent(chance)} |")
    return lines


def _figure(found: dict[str, Any], name: str) -> float | None:
    value: float | None = {"runs": found["exec_rate"], "similarity": found["similarity"], **found["read"]}.get(name)
    return value


def curves(metrics: Sequence[dict[str, Any]], path: Path) -> None:
    """Reward, share of programs that run, and similarity over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = (
        ("reward", "mean reward", "#1f5fa8"),
        ("exec_rate", "final programs that run", "#2a7f3f"),
        ("similarity", "similarity of final render", "#a8541f"),
    )
    steps = [m["step"] for m in metrics]
    for axes, (key, label, colour) in zip(figure.subplots(1, 3), panels, strict=True):
        values = [m[key] for m in metrics]
        axes.plot(steps, values, color=colour, alpha=0.35, linewidth=1)
        axes.plot(steps, smooth(values), color=colour, linewidth=2)
        axes.set(title=label, xlabel="step")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def smooth(values: Sequence[float], window: int = 5) -> list[float]:
    """Centred moving average; shorter at the ends."""
    half = window // 2
    return [fmean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]


def pictures(arms: Sequence[tuple[str, Sequence[Row]]], path: Path, columns: int = 10) -> None:
    """Targets above what each arm (a name and its rows, in one order) drew of them, with its similarity."""
    from matplotlib.figure import Figure
    from PIL import Image

    shown = [(name, rows[:columns]) for name, rows in arms]
    count = len(shown[0][1])
    figure = Figure(figsize=(1.45 * count + 0.6, 0.2 + 1.3 * (len(shown) + 1)), layout="constrained")
    grid = figure.subplots(len(shown) + 1, count, squeeze=False)
    for column in range(count):
        target = Path(shown[0][1][column].path).read_bytes()
        cells = [("target", target, ""), *((n, r[column].png, f"{r[column].similarity:.2f}") for n, r in shown)]
        for axes, (name, png, similarity) in zip(grid[:, column], cells, strict=True):
            axes.set(xticks=[], yticks=[])
            if png is None:
                axes.set_facecolor("#f3e3e3")
                axes.text(0.5, 0.5, "does not run", ha="center", va="center", fontsize=7, color="#8a2b2b")
            else:
                axes.imshow(Image.open(io.BytesIO(png)))
                axes.set_xlabel(similarity, fontsize=7, labelpad=1)
            if column == 0:
                axes.set_ylabel(name, fontsize=9)
    figure.savefig(path, dpi=120)


def _scores(evaluations: Evaluation, name: str, mode: str) -> dict[str, Any] | None:
    rows = evaluations.get(name, {}).get(mode)
    if not rows:
        return None
    found = asdict(scores(rows))
    return {
        key: {n: round(v, 4) for n, v in value.items()} if isinstance(value, dict) else round(value, 4)
        for key, value in found.items()
    }


def _mean(metrics: Sequence[dict[str, Any]], key: str, scale: float = 1.0) -> float | None:
    values = [m[key] * scale for m in metrics if m.get(key) is not None]
    return float(f"{fmean(values):.4g}") if values else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}%"


def _round(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
