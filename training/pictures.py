"""Draw the shipped pictures of other renderers anew; needs the extra `pictures` (vl-convert-python).

    python -m training.pictures FILE.zip

Exit status: 0 done, 1 failed on the way, 2 unusable input. `training.data.foreign_charts` does the work.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.data.foreign_charts import write


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pictures", description="Draw the shipped pictures anew.")
    parser.add_argument("path", type=Path, help="the zip to write (training/data/foreign_charts.zip)")
    args = parser.parse_args(argv)
    return run(lambda: write(args.path))


if __name__ == "__main__":
    sys.exit(main())
