"""Does the policy use its feedback?

    python -m training.feedback_use CONFIG [key=value ...] --model DIR [--count 200] [--out FILE.json]

Exit status: 0 done, 1 failed on the way, 2 unusable input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.feedback_use import report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.feedback_use", description="Is the feedback used?")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--model", required=True, type=Path, help="a checkpoint's folder")
    parser.add_argument("--count", type=int, default=200, help="held-out images, at most")
    parser.add_argument("--out", type=Path, help="a JSON file; printed otherwise")
    args = parser.parse_intermixed_args(argv)
    return run(lambda: report(args.config, args.overrides, args.model, args.count, args.out))


if __name__ == "__main__":
    sys.exit(main())
