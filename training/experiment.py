"""Learning from pictures alone against every other explanation of the gain: arms, by seeds, in one table.

    python -m training.experiment CONFIG [key=value ...] [--seeds 3] [--dir DIR] [--arms rrvf,NAME...]

Exit status: 0 done, 1 an arm failed (start again to go on), 2 unusable input, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.experiment import ARMS, TURNS, experiment


def main(argv: Sequence[str] | None = None) -> int:
    arms = [f"{arm.name}: {arm.meaning}" for arm in (*ARMS, *TURNS)]
    parser = argparse.ArgumentParser(
        prog="python -m training.experiment",
        description="Arms, by seeds: " + "; ".join(arms) + ".",
    )
    parser.add_argument("config", help="a YAML file of configs/ whose data is drawn (configs/tiny_chart.yaml)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--dir", type=Path, default=Path("runs/experiment"))
    parser.add_argument("--arms", metavar="rrvf,NAME...", help="only these; without it all but the last two")
    args = parser.parse_intermixed_args(argv)
    given = (args.config, args.overrides, args.seeds, args.dir, args.arms.split(",") if args.arms else None)
    return run(lambda: experiment(*given), hint="start again to go on")


if __name__ == "__main__":
    sys.exit(main())
