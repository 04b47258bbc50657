"""Low-level scores of chart programs, a line a pair.

    python -m training.metrics.chartmimic --pairs PAIRS.jsonl [--details] [--official]

Rows of PAIRS are `{"golden": PATH, "generated": PATH}`; one JSON line a pair comes out, in their order, with `exec`,
`text`, `layout`, `type` and `color` in 0..1.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.command import run
from training.metrics.chartmimic import Result, Scorer, is_graph


def read_pairs(path: Path) -> list[tuple[Path, Path]]:
    """The pairs of a file. Raises ValueError with one line that names file, line and fault."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a JSON text may hold other line ends
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


async def score_all(pairs: list[tuple[Path, Path]], details: bool, official: bool) -> None:
    """Print the line of each pair as soon as it and those before it are known."""
    scorer = Scorer(official=official)
    try:
        for golden, generated in pairs:
            texts = [file.read_text(encoding="utf-8-sig", errors="replace") for file in (golden, generated)]
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
    parser.add_argument("--official", action="store_true", help="with the faults of the original evaluators")
    chosen = parser.parse_args(argv)
    return run(
        lambda: asyncio.run(score_all(read_pairs(chosen.pairs), chosen.details, chosen.official)),
        unusable=(ValueError, OSError),
    )


if __name__ == "__main__":
    sys.exit(main())
