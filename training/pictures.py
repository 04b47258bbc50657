"""Draw the shipped pictures of other renderers anew; charts need the extra `pictures` (vl-convert-python).

    python -m training.pictures training/data/foreign_charts.zip
    python -m training.pictures training/data/foreign_pages.zip --pages

Exit status: 0 done, 1 failed on the way, 2 unusable input. `training.data.foreign_charts` and `foreign_pages` do the
work.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.data import foreign_charts, foreign_pages


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pictures", description="Draw the shipped pictures anew.")
    parser.add_argument("path", type=Path, help="the zip to write")
    parser.add_argument("--pages", action="store_true", help="pages instead of charts")
    args = parser.parse_args(argv)
    return run(lambda: (foreign_pages if args.pages else foreign_charts).write(args.path))


if __name__ == "__main__":
    sys.exit(main())
