"""Our scores beside those of the benchmarks' own code, pair by pair.

A folder holds `chartmimic`, `plot2code` and `design2code`, each with `official.jsonl`: a line a pair, `golden` and
`generated` (paths beside it) and the original's figures by column; a figure that is missing is one where the original
itself stops. Guarantees: every figure of every line is compared; where the original's own value is one of several by
chance (more than ten colours), `low` and `high` are the ends of what it may be.
"""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.schema import Render, Sandbox
from serving.render.web import WebRenderer
from training.metrics import chartmimic, design2code, plot2code
from training.metrics.colours import MANY, color_f1_orders

BENCHMARKS = ("chartmimic", "plot2code", "design2code")
LIMITS = {"chartmimic": 0.005, "plot2code": 0.005, "design2code": 0.01}
PATIENT = Render(
    full_width=True, max_height=16_384, sandbox=Sandbox(cpu_s=60, wall_s=240, max_source_bytes=8_000_000)
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One figure of one pair."""

    benchmark: str
    pair: str
    column: str
    official: float
    ours: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.ours - self.official

    @property
    def by_chance(self) -> bool:
        return self.high > self.low


async def compared(folder: Path, benchmark: str, *, official: bool) -> AsyncIterator[Row]:
    """The rows of one benchmark. Raises Outage, OSError, ValueError."""
    scorers = {"chartmimic": _chartmimic, "plot2code": _plot2code, "design2code": _design2code}
    lines = (folder / benchmark / "official.jsonl").read_text(encoding="utf-8-sig").splitlines()
    pairs = [json.loads(line) for line in lines if line.strip()]
    async for pair, found in scorers[benchmark](folder / benchmark, pairs, official):
        for column, (ours, low, high) in found.items():
            if pair.get(column) is not None:
                yield Row(benchmark, pair["generated"], column, float(pair[column]), ours, low, high)


Found = AsyncIterator[tuple[dict[str, Any], dict[str, tuple[float, float, float]]]]


def _sources(folder: Path, pair: dict[str, Any]) -> tuple[str, str]:
    golden, generated = ((folder / pair[k]).read_text(encoding="utf-8-sig") for k in ("golden", "generated"))
    return golden, generated


async def _chartmimic(folder: Path, pairs: list[dict[str, Any]], official: bool) -> Found:
    scorer = chartmimic.Scorer(PATIENT, official=official)
    try:
        for pair in pairs:
            result = await scorer.score(*_sources(folder, pair), graph=chartmimic.is_graph(Path(pair["golden"])))
            found = {c: (v := getattr(result.code_pass, c), v, v) for c in ("exec", *chartmimic.COLUMNS)}
            if max(map(len, result.colors)) > MANY and official:
                orders = color_f1_orders(*result.colors)
                found["color"] = (found["color"][0], min(orders), max(orders))
            yield pair, found
    finally:
        await scorer.close()


async def _plot2code(folder: Path, pairs: list[dict[str, Any]], official: bool) -> Found:
    scorer = plot2code.Scorer(PATIENT, official=official)
    try:
        for pair in pairs:
            result = await scorer.score(*_sources(folder, pair))
            values = {"passed": float(result.passed), "text": result.text}
            yield pair, {column: (value, value, value) for column, value in values.items() if value is not None}
    finally:
        await scorer.close()


async def _design2code(folder: Path, pairs: list[dict[str, Any]], official: bool) -> Found:
    renderer = WebRenderer(replace(PATIENT, machine_fonts=official))
    inlined = {
        file.name: f"data:image/jpeg;base64,{base64.b64encode(file.read_bytes()).decode()}"
        for file in folder.glob("*.jpg")
    }

    async def shoot(page: str) -> bytes | None:
        for name, data in inlined.items():
            page = page.replace(name, data)
        return (await renderer.render(page)).png

    try:
        for pair in pairs:
            result = await design2code.score(*_sources(folder, pair), shoot)
            if result is not None:
                columns = ("block", "text", "position", "color")
                yield pair, {c: (v := getattr(result, c), v, v) for c in columns}
    finally:
        await renderer.close()


def markdown(rows: list[Row]) -> str:
    """The table, and the largest difference of each benchmark."""
    lines = ["| benchmark | pair | column | official | ours | difference |", "|---|---|---|---|---|---|"]
    for row in rows:
        chance = f" (by chance {row.low:.4f} to {row.high:.4f})" if row.by_chance else ""
        lines.append(
            f"| {row.benchmark} | {row.pair} | {row.column} | {row.official:.4f}{chance} | {row.ours:.4f} | "
            f"{row.difference:+.4f} |"
        )
    lines.append("")
    for benchmark in dict.fromkeys(row.benchmark for row in rows):
        known = [row for row in rows if row.benchmark == benchmark and not row.by_chance]
        most = max((abs(row.difference) for row in known), default=0.0)
        more = sum(row.by_chance for row in rows if row.benchmark == benchmark)
        lines.append(
            f"{benchmark}: {len(known)} figures, largest difference {most:.4f} (limit {LIMITS[benchmark]})"
            + (f"; {more} more by chance in the original" if more else "")
        )
    return "\n".join(lines)
