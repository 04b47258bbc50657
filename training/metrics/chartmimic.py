"""ChartMimic's scores of chart programs against their reference programs (arXiv 2406.09961, its repository's protocol).

    python -m training.metrics.chartmimic --pairs PAIRS.jsonl [--details]

Rows of PAIRS are `{"golden": PATH, "generated": PATH}`; one JSON line a pair comes out, in their order, with `exec`,
`text`, `layout`, `type` and `color` in 0..1. Guarantees: each program runs once, in the jail, for all scores; reference
and candidate never share a process; a candidate that does not run to its end scores 0 in every column (the published
`code_pass`; `no_filter`, in which a figure left half-way counts, is under --details); so does one that tampers with its
trace (see `serving.jailed.trace`). Colours are assigned optimally, and every sample is scored by itself.
"""

import argparse
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.contracts import Outage
from configs.schema import Render, Sandbox
from serving.jailed.sandbox import MissingLayer
from serving.render.chart_tracer import ChartTracer, Trace
from training.metrics.colours import color_f1

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


def compare(golden: Trace, generated: Trace, *, graph: bool = False) -> Result:
    """Scores of one trace against its reference. `graph`: the layout of such charts is the number of axes, in a grid or
    not."""
    places = [[CONSTANT] * t.axes if graph else t.layout for t in (golden, generated)]
    partial = Scores(
        float(generated.ran),
        f1(golden.texts, generated.texts),
        f1(*places),
        f1(golden.calls, generated.calls),
        color_f1(golden.colors, generated.colors),
    )
    passed = partial if generated.ran else Scores(0.0, 0.0, 0.0, 0.0, 0.0)
    return Result(passed, partial, generated.failure, generated.tampered, "" if golden.ran else golden.failure)


class Scorer:
    """Runs pairs of programs; the two of a pair at the same time, on processes that have nothing in common."""

    def __init__(self, render: Render = PATIENT) -> None:
        """Raises sandbox.MissingLayer."""
        self._golden, self._generated = ChartTracer(render), ChartTracer(render)

    async def score(self, golden: str, generated: str | None, *, graph: bool = False) -> Result:
        """One pair of sources; None where the model wrote no program. Raises Outage."""
        if generated is None:
            reference, candidate = await self._golden.trace(prepare(golden)), Trace(False, "no program")
        else:
            reference, candidate = await asyncio.gather(
                self._golden.trace(prepare(golden)), self._generated.trace(prepare(generated))
            )
        return compare(reference, candidate, graph=graph)

    async def close(self) -> None:
        await asyncio.gather(self._golden.close(), self._generated.close())


def is_graph(path: Path) -> bool:
    """Whether a reference is of ChartMimic's type `graph`, by its file's name."""
    return path.name.startswith("graph")


def read_pairs(path: Path) -> list[tuple[Path, Path]]:
    """The pairs of a file. Raises ValueError with one line that names file, line and fault."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    pairs = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise ValueError(f"{path}:{number}: not JSON") from None
        if not isinstance(row, dict) or not all(isinstance(row.get(k), str) for k in ("golden", "generated")):
            raise ValueError(f'{path}:{number}: a row is {{"golden": PATH, "generated": PATH}}')
        pair = [Path(row[k]) for k in ("golden", "generated")]
        for i, file in enumerate(pair):
            if not file.is_absolute() and not file.exists():
                pair[i] = file = path.parent / file
            if not file.is_file():
                raise ValueError(f"{path}:{number}: no such program: {row[('golden', 'generated')[i]]}")
        pairs.append((pair[0], pair[1]))
    if not pairs:
        raise ValueError(f"{path}: no pairs in it")
    return pairs


def as_row(result: Result, details: bool) -> dict[str, Any]:
    """The line of a pair, rounded to what a sum over thousands of them needs."""
    row: dict[str, Any] = {k: round(v, 6) for k, v in asdict(result.code_pass).items()}
    if details:
        row["no_filter"] = {k: round(v, 6) for k, v in asdict(result.no_filter).items() if k != "exec"}
        row |= {"failure": result.failure, "tampered": result.tampered}
    return row


async def score_all(pairs: list[tuple[Path, Path]], details: bool) -> None:
    """Print the line of each pair as soon as it and those before it are known."""
    scorer = Scorer()
    try:
        for golden, generated in pairs:
            texts = [file.read_text(encoding="utf-8", errors="replace") for file in (golden, generated)]
            result = await scorer.score(*texts, graph=is_graph(golden))
            if result.reference:
                print(f"warning: {golden}: the reference does not run here ({result.reference})", file=sys.stderr)
            print(json.dumps(as_row(result, details)), flush=True)
    finally:
        await scorer.close()


def main(argv: list[str] | None = None) -> int:
    """0 = scored, 1 = an outage, 2 = unusable input."""
    parser = argparse.ArgumentParser(
        prog="python -m training.metrics.chartmimic", description="Low-level scores of chart programs, a line a pair."
    )
    parser.add_argument("--pairs", type=Path, required=True, help='JSONL of {"golden": PATH, "generated": PATH}')
    parser.add_argument("--details", action="store_true", help="also no_filter, failure and tampered")
    chosen = parser.parse_args(argv)
    try:
        asyncio.run(score_all(read_pairs(chosen.pairs), chosen.details))
    except (ValueError, OSError, MissingLayer) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Outage as error:
        print(f"outage: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
