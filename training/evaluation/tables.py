"""A measured row beside the published ones, in Markdown and LaTeX, with its interval and what it was computed with.

Guarantees: the interval is the middle 95 percent of DRAWS draws of the cases with replacement, from a fixed seed; marks
that answer our own question are not set beside published ones.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from training.evaluation.published import TABLES, Table

DRAWS = 300
ESCAPED = str.maketrans({mark: f"\\{mark}" for mark in "&%$#_{}"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"})  # fmt: skip
ABOVE = "Rows above ours: arXiv 2507.20766; * as the benchmark reported."
JUDGED = ("judge", "overall", "rating", "rating_pass")
Cells = dict[str, float | str]
Summary = Callable[[str, Sequence[dict[str, Any]]], dict[str, Cells]]


def intervals(benchmark: str, rows: Sequence[dict[str, Any]], summary: Summary) -> dict[str, tuple[float, float]]:
    """Ends of the interval of each measured column of the published convention."""
    table, rng = TABLES[benchmark], random.Random(0)
    graded = [row for row in rows if not row["void"]]
    drawn: dict[str, list[float]] = {}
    for _ in range(DRAWS if graded else 0):
        cells = summary(benchmark, rng.choices(graded, k=len(graded)))[table.convention]
        for column, _ in table.columns:
            if isinstance(value := cells.get(column), float):
                drawn.setdefault(column, []).append(value)
    ends = {}
    for column, values in drawn.items():
        values.sort()
        ends[column] = values[int(0.025 * len(values))], values[min(len(values) - 1, int(0.975 * len(values)))]
    return ends


def comparable(cells: Cells, facts: dict[str, Any]) -> Cells:
    """Without the columns of a judge that was asked another question than the published one."""
    return cells if facts.get("questions") else {c: v for c, v in cells.items() if c not in JUDGED}


def computed_with(benchmark: str, facts: dict[str, Any]) -> list[str]:
    """One line for each column that depends on more than the programs."""
    official = facts.get("official")
    lines = ["Scores: " + ("as the original computes them, faults included (--official)." if official else
             "the original's, without its faults (see the deviations in the evaluation guide).")]  # fmt: skip
    if benchmark in ("chartmimic", "plot2code", "websight"):
        model = facts.get("judge_model") or facts.get("judge") or "none"
        question = "the published question, read from " + facts["questions"] if facts.get("questions") else (
            "our own question, so that its columns are in the summary and not beside the published ones")  # fmt: skip
        lines.append(f"Judge: {model}; {question}." if facts.get("judge") else "Judge: none (--judge).")
    if benchmark == "design2code":
        lines.append(f"CLIP: {facts.get('clip') or 'none (--clip)'}; of the pages with their text painted over.")
    if benchmark == "websight":
        lines.append(f"CLIP: {facts.get('clip') or 'none (--clip)'}; of the whole pages; the paper names no model.")
    if benchmark == "plot2code":
        way = "within a function, as in the original" if official else "as programs of their own"
        lines.append(f"Exec rate: programs run {way}; the summary has both.")
    return lines


def _figure(value: float | str | None) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "-"


def _paper_rows(table: Table) -> list[tuple[str, list[str]]]:
    return [(name, [_figure(float(v)) for v in values]) for name, values in table.paper]


def _measured(table: Table, cells: Cells) -> list[str]:
    return [_figure(cells.get(column)) for column, _ in table.columns]


def _ends(table: Table, cells: Cells, ends: dict[str, tuple[float, float]]) -> list[tuple[str, ...]]:
    """Lower and upper end of each column's interval, nothing where nothing was measured."""
    known = [column if _figure(cells.get(column)) != "-" else "" for column, _ in table.columns]
    return [tuple(map(_figure, ends[column])) if column in ends else ("", "") for column in known]


def markdown(benchmark: str, model: str, cells: Cells, ends: dict[str, tuple[float, float]], notes: list[str]) -> str:
    table = TABLES[benchmark]
    lines = [f"## {table.title}", "", "| model | " + " | ".join(heading for _, heading in table.columns) + " |",
             "|---" * (len(table.columns) + 1) + "|"]  # fmt: skip
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in _paper_rows(table)]
    both = zip(_measured(table, cells), _ends(table, cells, ends), strict=True)
    ours = [f"{value} [{low}, {high}]" if low else value for value, (low, high) in both]
    lines.append(f"| **{model}** (here) | " + " | ".join(ours) + " |")
    if table.paper:
        lines += ["", ABOVE]
    lines += ["", "In brackets: 95% interval over the cases (bootstrap).", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def latex(benchmark: str, model: str, cells: Cells, ends: dict[str, tuple[float, float]], notes: list[str]) -> str:
    """The same as a `table` environment, the interval in two rows below; needs booktabs."""
    table = TABLES[benchmark]
    head = " & ".join(["Model", *(_escaped(heading) for _, heading in table.columns)])
    kinds = "r" * len(table.columns)
    lines = [r"\begin{table}", r"\centering", r"\small", r"\setlength{\tabcolsep}{3pt}",
             r"\begin{tabular}{l" + kinds + "}", r"\toprule", head + r" \\", r"\midrule"]  # fmt: skip
    lines += [" & ".join([_escaped(name), *values]) + r" \\" for name, values in _paper_rows(table)]
    lines += [r"\midrule"] if table.paper else []
    between = list(zip(*_ends(table, cells, ends), strict=True))
    rows = [(_escaped(model) + " (here)", _measured(table, cells))]
    rows += zip((r"\quad 95\% from", r"\quad to"), map(list, between), strict=True)
    lines += [" & ".join([name, *values]) + r" \\" for name, values in rows]
    above = [ABOVE] if table.paper else []
    caption = " ".join([f"{table.title}.", *above, "Interval: over the cases (bootstrap).", *notes])
    lines += [r"\bottomrule", r"\end{tabular}", r"\caption{" + _escaped(caption) + "}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.translate(ESCAPED)
