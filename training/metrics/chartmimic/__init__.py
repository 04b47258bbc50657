"""ChartMimic's scores of chart programs against their reference programs (arXiv 2406.09961, its repository's protocol).

Guarantees: a program runs in the jail, once for all scores (three times by the original's way where it names seaborn);
reference and candidate never share a process; a candidate that does not run to its end scores 0 in every column (the
published `code_pass`; `no_filter` counts a figure left half-way); so does one that tampers with its trace (see
`serving.jailed.trace`). Colours are assigned optimally, and every sample is scored by itself. `official`: with the
original's faults, see `serving.jailed.calls` and `training.metrics.colours`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from configs.schema import Render, Sandbox
from serving.render.chart_tracer import ChartTracer, Trace
from training.metrics.colours import color_f1, color_f1_official

COLUMNS = ("text", "layout", "type", "color")
ENDS = (re.compile(r"plt\.savefig\(.*", re.DOTALL), re.compile(r"plt\.show\(.*", re.DOTALL))
CONSTANT = (1, 1, 0, 0, 0, 0)  # the place of every axes of a graph
PATIENT = Render(sandbox=Sandbox(cpu_s=60, wall_s=240))


@dataclass(frozen=True)
class Scores:
    """All in 0..1. `exec` counts samples; the others are zero where it is (code_pass) or not (no_filter)."""

    exec: float
    text: float
    layout: float
    type: float
    color: float

    @property
    def average(self) -> float:
        """ChartMimic's average of the low-level scores."""
        return fmean((self.text, self.layout, self.type, self.color))


@dataclass(frozen=True)
class Result:
    """One pair by both conventions, and why its program did not count, if it did not."""

    code_pass: Scores
    no_filter: Scores
    failure: str = ""
    tampered: bool = False
    colors: tuple[frozenset[tuple[str, str]], ...] = ()  # of reference and candidate
    reference: str = ""  # why the reference itself does not run here: then the scores say nothing


def prepare(code: str) -> str:
    """The program up to its first `plt.savefig(` or `plt.show(`; the tracer saves in their place."""
    for end in ENDS:
        code = end.sub("", code)
    return code


def f1(golden: Iterable[Hashable], generated: Iterable[Hashable]) -> float:
    """F1 of exact matches between two multisets; 0 where either is empty."""
    left, right = Counter(golden), Counter(generated)
    hits = (left & right).total()
    return 2 * hits / (left.total() + right.total()) if hits else 0.0


def compare(golden: Trace, generated: Trace, *, graph: bool = False, official: bool = False) -> Result:
    """Scores of one trace against its reference. `graph`: the layout of such charts is the number of axes, in a grid or
    not."""
    places = [[CONSTANT] * t.axes if graph else t.layout for t in (golden, generated)]
    partial = Scores(
        float(generated.ran),
        f1(golden.texts, generated.texts),
        f1(*places),
        f1(golden.calls, generated.calls),
        (color_f1_official if official else color_f1)(golden.colors, generated.colors),
    )
    passed = partial if generated.ran else Scores(0.0, 0.0, 0.0, 0.0, 0.0)
    colors = golden.colors, generated.colors
    broken = "" if golden.ran else golden.failure
    return Result(passed, partial, generated.failure, generated.tampered, colors, broken)


class Scorer:
    """Runs pairs of programs; the two of a pair at the same time, on processes that have nothing in common."""

    def __init__(self, render: Render = PATIENT, *, official: bool = False) -> None:
        """Raises sandbox.MissingLayer."""
        self._golden, self._generated = ChartTracer(render), ChartTracer(render)
        self._official = official

    async def score(self, golden: str, generated: str | None, *, graph: bool = False) -> Result:
        """One pair of sources; None where the model wrote no program. Raises Outage."""
        if generated is None:
            reference, candidate = await self._trace(self._golden, golden), Trace(False, "no program")
        else:
            reference, candidate = await asyncio.gather(
                self._trace(self._golden, golden), self._trace(self._generated, generated)
            )
        return compare(reference, candidate, graph=graph, official=self._official)

    async def _trace(self, tracer: ChartTracer, source: str) -> Trace:
        source = prepare(source)
        found = await tracer.trace(source, "official" if self._official else "chartmimic")
        if not self._official or "seaborn" not in source or found.tampered:
            return found
        calls, colors = await tracer.trace(source, "official_type"), await tracer.trace(source, "official_color")
        if tracer is self._golden:  # one that an evaluator breaks has nothing there; of a candidate what came before
            calls, colors = (part if part.ran else Trace(False) for part in (calls, colors))
        return replace(found, calls=calls.calls, colors=colors.colors)

    async def close(self) -> None:
        await asyncio.gather(self._golden.close(), self._generated.close())


def is_graph(path: Path) -> bool:
    """Whether a reference is of ChartMimic's type `graph`, by its file's name."""
    return path.name.startswith("graph")
