"""Look at a run in the browser, finished or under way, without a cluster.

    python -m training.view RUN [--port PORT]

Exit status: 0 when stopped, 2 for unusable input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.view import view


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.view", description="Look at a run in the browser.")
    parser.add_argument("run", type=Path, help="a run's folder, e.g. runs/latest")
    parser.add_argument("--port", type=int, default=8001, help="0 takes a free one")
    args = parser.parse_args(argv)
    return run(lambda: view(args.run, args.port))


if __name__ == "__main__":
    sys.exit(main())
