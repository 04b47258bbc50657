"""Train again on the batches of a recorded run, and see whether a figure moved.

    python -m training.rerun RUN [key=value ...]

Exit status: 0 all figures as recorded, 1 some moved, 2 unusable input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.rerun import compare


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.rerun", description="Train again on a recorded run.")
    parser.add_argument("run", type=Path, help="a run's folder with batches (run.record=true)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the run's")
    args = parser.parse_args(argv)
    return run(lambda: compare(args.run, args.overrides), unusable=(OSError,))


if __name__ == "__main__":
    sys.exit(main())
