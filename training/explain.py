"""Where did my step go: seconds by cause, idle time, wasted work, and what the next unit of each resource would buy.

    python -m training.explain RUN [--against OTHER] [--json]

Exit status: 0, or 2 for a folder without a trace.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.explain import report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.explain", description="Where did my step go?")
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/latest")
    parser.add_argument("--against", type=Path, metavar="OTHER", help="predict this other run, and how far off it is")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    args = parser.parse_args(argv)
    return run(lambda: report(args.run, args.against, args.json), unusable=(OSError, ValueError))


if __name__ == "__main__":
    sys.exit(main())
