"""What an evaluation leaves behind: summary.md, summary.json, scores.png, examples.png, and a picture a sample.

Guarantees: every figure is computed from samples.jsonl alone; the denominator stands beside it and is the number of
cases graded, whatever became of their programs; cases without a mark of the judge are named; a column that was not
measured says why instead of a number.
"""

import io
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from training.evaluation import tables
from training.evaluation.published import TABLES
from training.metrics.clip import MISSING
from training.metrics.plot2code import headline

NO_JUDGE = "no judge (--judge URL or perceptual), or no mark in its answers"
NO_RATER = "no judge that is a model (--judge URL), or no rating in its answers"
MARKS = ("judge", "rating")  # what a judge's answer may lack
UNJUDGED = "only pictures of programs that ran to their end are judged: see code_pass"
LOW = ("text", "layout", "type", "color")
Cells = dict[str, float | str]  # a column's value, in percent but for ratings, or why there is none
Rows = Sequence[dict[str, Any]]


def summary(benchmark: str, rows: Rows) -> dict[str, Cells]:
    """Columns by convention: one line of the table each."""
    graded = [row for row in rows if not row["void"]]
    if not graded:
        return {}
    if benchmark == "plot2code":
        return {"all": _plot2code(graded)}
    found: Cells = {"exec": _mean(graded, "exec", "")}
    lows = any(row["partial"] or "layout" in row["scores"] for row in graded)
    if benchmark in ("chartmimic", "coldstart") or (benchmark == "pairs" and lows):
        partial = [row["partial"] for row in graded]
        lines = {"code_pass": [row["scores"] for row in graded], "no_filter": partial}
        judged: dict[str, Cells] = {
            "code_pass": _judged(graded, lines["code_pass"]),
            "no_filter": {"judge": UNJUDGED, "overall": UNJUDGED},
        }
        return {name: found | _low(scores) | judged[name] for name, scores in lines.items()}
    if benchmark == "design2code" or (benchmark == "pairs" and any("block" in row["scores"] for row in graded)):
        columns = ("block", "text", "position", "color")
        return {"all": found | {c: _mean(graded, c, "") for c in columns}
                | {c: _mean(graded, c, MISSING) for c in ("clip", "final")}}  # fmt: skip
    clip: Cells = {"clip": _mean(graded, "clip", MISSING)} if benchmark == "websight" else {}
    return {"all": found | clip | {"judge": _mean(graded, "judge", NO_JUDGE)}}


def _mean(rows: Rows, column: str, reason: str) -> float | str:
    """Over the cases that have it: a program that fails has 0, an answer of the judge without a mark has none."""
    known = [v for row in rows if (v := row["scores"].get(column)) is not None]
    return round(100 * fmean(known), 2) if known else reason


def _low(scores: Rows) -> Cells:
    found: Cells = {c: round(100 * fmean(s.get(c, 0.0) for s in scores), 2) for c in LOW}
    return found | {"average": round(100 * fmean(s.get(c, 0.0) for s in scores for c in LOW), 2)}


def _judged(rows: Rows, scores: Rows) -> Cells:
    judge = _mean(rows, "judge", NO_JUDGE)
    average = _low(scores)["average"]
    both = isinstance(judge, float) and isinstance(average, float)
    return {"judge": judge, "overall": round((judge + average) / 2, 2) if both else judge}  # type: ignore[operator]


def _plot2code(rows: Rows) -> Cells:
    passing = [row["scores"] for row in rows if row["scores"]["pass"]]
    found: Cells = {"pass_rate": round(100 * len(passing) / len(rows), 2)}
    inside = sum(row["scores"].get("pass_in_function") or 0.0 for row in rows)
    found["pass_rate_in_function"] = round(100 * inside / len(rows), 2)
    for column, scale, reason in (("text_match", 100, "no program passes"), ("rating", 1, NO_RATER)):
        values = [s[column] for s in passing if s[column] is not None]
        mean, times = headline(values, len(rows), len(passing))
        found[column] = reason if times is None else round(scale * times, 2)
        found[f"{column}_pass"] = reason if mean is None else round(scale * mean, 2)
    return found


def write(out: Path, facts: dict[str, Any], rows: Rows, left_open: Sequence[str] = ()) -> None:
    """All files into `out`. `facts`: benchmark, judge, `answers` (the model's own name) and what else the run was;
    `left_open`: a line for each case that an outage left without a score."""
    table = summary(facts["benchmark"], rows)
    voids = {row["name"]: row["void"] for row in rows if row["void"]}
    result = {**facts, "n": len(rows) - len(voids), "void": voids, "open": [*left_open], "scores": table}
    rated = facts["judge"] not in ("", None, "perceptual")  # which gives no rating
    result["unmarked"] = unmarked(rows) if rated else []
    text = markdown(result)
    if table and facts["benchmark"] in TABLES:
        cells = tables.comparable(table[TABLES[facts["benchmark"]].convention], facts)
        ends = tables.intervals(facts["benchmark"], rows, summary)
        result["intervals"] = ends
        notes = tables.computed_with(facts["benchmark"], facts)
        beside = facts["benchmark"], str(facts["answers"]), cells, ends, notes
        text += "\n" + tables.markdown(*beside)
        (out / "table.tex").write_text(tables.latex(*beside))
    (out / "summary.json").write_text(json.dumps(result, indent=2) + "\n")
    (out / "summary.md").write_text(text)
    if table:
        histograms(out / "scores.png", rows)
        examples(out, rows)


def unmarked(rows: Rows) -> list[str]:
    """Cases of which the judge was asked and gave no mark."""
    asked = [row for row in rows if not row["void"] and row["scores"].get("pass", 1.0)]
    return [row["name"] for row in asked if any(row["scores"].get(c, 0.0) is None for c in MARKS)]


def _judge(facts: dict[str, Any]) -> str:
    name, where = facts.get("judge_model"), facts["judge"] or "none"
    return f"{name} at {where}" if name else where


def markdown(result: dict[str, Any]) -> str:
    lines = [f"# {result['benchmark']}: {result['answers']}", ""]
    how = "saved answers" if result.get("saved") else "single turn, no tool, greedy"
    lines += [f"{result['n']} cases, {how}; judge: {_judge(result)}.", ""]
    notes: list[str] = []
    for name, cells in result["scores"].items():
        if len(lines) == 4:
            lines += ["| | " + " | ".join(cells) + " |", "|---" * (len(cells) + 1) + "|"]
        shown = []
        for cell in cells.values():
            if isinstance(cell, str):
                notes += [cell] if cell not in notes else []
                shown.append(f"-[^{notes.index(cell) + 1}]")
            else:
                shown.append(f"{cell:.2f}")
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    lines += ["", *(f"[^{i}]: {note}" for i, note in enumerate(notes, 1))]
    lines += [f"Left out: {name}: {why}" for name, why in result["void"].items()]
    if unknown := result.get("unmarked"):
        named = ", ".join(unknown[:10]) + ", ..." * (len(unknown) > 10)
        lines.append(f"No mark in the judge's answer, left out of its mean: {named} ({len(unknown)} of {result['n']})")
    lines += [f"Open, not scored: {line}" for line in result["open"]]
    return "\n".join(lines).rstrip() + "\n"


def histograms(path: Path, rows: Rows) -> None:
    """How each score is spread over the samples."""
    from matplotlib.figure import Figure

    graded = [row["scores"] for row in rows if not row["void"]]
    columns = [c for c in graded[0] if any(s.get(c) is not None for s in graded)]
    figure = Figure(figsize=(2.1 * len(columns) + 0.4, 2.4), layout="constrained")
    for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        values = [s[column] for s in graded if s.get(column) is not None]
        axes.hist(values, bins=11, range=(0, 10) if column == "rating" else (0, 1), color="#1f5fa8")
        axes.set_title(f"{column}  {fmean(values):.2f}", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def examples(out: Path, rows: Rows, most: int = 8) -> None:
    """Target and answer of samples from the best to the worst."""
    graded = sorted((row for row in rows if row["pictures"]), key=lambda row: -_merit(row))
    count = min(most, len(graded))
    picked = [graded[round(i * (len(graded) - 1) / max(1, count - 1))] for i in range(count)]
    pairs = [Image.open(out / row["pictures"]).convert("RGB") for row in picked]
    if not pairs:
        return
    width = 420
    small = [p.resize((width, max(1, min(600, round(p.height * width / p.width))))) for p in pairs]
    columns = 2
    heights = [max(p.height for p in small[i : i + columns]) + 12 for i in range(0, len(small), columns)]
    sheet = Image.new("RGB", (columns * (width + 12), sum(heights)), "white")
    for i, image in enumerate(small):
        sheet.paste(image, ((i % columns) * (width + 12), sum(heights[: i // columns])))
    sheet.save(out / "examples.png")


def _merit(row: dict[str, Any]) -> float:
    values = [v for k, v in row["scores"].items() if v is not None and k != "rating"]
    return fmean(values) if values else 0.0


def side_by_side(target: bytes, shot: bytes | None, failure: str) -> bytes:
    """PNG of the target and, on its right, what the answer renders to, or why it does not."""
    left = Image.open(io.BytesIO(target)).convert("RGB")
    if shot is not None:
        right = Image.open(io.BytesIO(shot)).convert("RGB")
    else:
        right = Image.new("RGB", left.size, "#f3e3e3")
        size = max(10, left.width // 24)  # to be read where the picture is scaled down
        words = "\n".join(textwrap.wrap(failure[:400], max(12, int(1.7 * left.width / size))))
        ImageDraw.Draw(right).multiline_text((size, size), words, "#8a2b2b", ImageFont.load_default(size))
    both = Image.new("RGB", (left.width + right.width + 8, max(left.height, right.height)), "white")
    both.paste(left, (0, 0))
    both.paste("#c8c8c8", (left.width + 3, 0, left.width + 5, both.height))
    both.paste(right, (left.width + 8, 0))
    file = io.BytesIO()
    both.save(file, "PNG")
    return file.getvalue()
