"""Learning from pictures alone against every other explanation of the gain: six arms, or eight with --turns,
by seeds, in one table.

    python -m training.experiment CONFIG [key=value ...] [--seeds 3] [--dir DIR] [--turns]      (make experiment)

Exit status: 0 done, 1 an arm failed (start again to go on), 2 unusable input, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.experiment import experiment


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.experiment", description="Six arms, by seeds.")
    parser.add_argument("config", help="a YAML file of configs/ whose data is drawn (configs/tiny_chart.yaml)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--dir", type=Path, default=Path("runs/experiment"))
    parser.add_argument("--turns", action="store_true", help="two more arms: without turns, and with turns alone")
    args = parser.parse_intermixed_args(argv)
    given = (args.config, args.overrides, args.seeds, args.dir, args.turns)
    return run(lambda: experiment(*given), hint="start again to go on")


if __name__ == "__main__":
    sys.exit(main())
