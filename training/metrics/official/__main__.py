"""Our scores beside the original evaluators', for every pair and column.

    python -m training.metrics.official --pairs DIR [--only BENCHMARK] [--deviations]

DIR holds the folders chartmimic, plot2code and design2code with official.jsonl (see the package). By default the scores
are those of `--official`, so that nothing may differ; --deviations compares what is scored without it.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from configs.command import run
from training.metrics.official import BENCHMARKS, Row, compared, markdown


async def rows(folder: Path, only: str, deviations: bool) -> list[Row]:
    found: list[Row] = []
    for benchmark in [only] if only else [b for b in BENCHMARKS if (folder / b).is_dir()]:
        async for row in compared(folder, benchmark, official=not deviations):
            print(f"{row.benchmark} {row.pair} {row.column} {row.difference:+.4f}", file=sys.stderr)
            found.append(row)
    return found


def main(argv: list[str] | None = None) -> int:
    """0 = compared, 1 = an outage, 2 = unusable input."""
    parser = argparse.ArgumentParser(prog="python -m training.metrics.official", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="folder of pairs with the original's figures")
    parser.add_argument("--only", choices=BENCHMARKS, default="", help="one benchmark")
    parser.add_argument("--deviations", action="store_true", help="compare what is scored without --official")
    chosen = parser.parse_args(argv)
    return run(
        lambda: print(markdown(asyncio.run(rows(chosen.pairs, chosen.only, chosen.deviations)))),
        unusable=(ValueError, OSError),
    )


if __name__ == "__main__":
    sys.exit(main())
