"""What a policy reads off pictures, or whether there is anything for a reward to amplify.

    python -m training.reading MODEL [--config FILE] [--set own|heldout|...] [--count 100] [--temperature 0] [--kill]

Exit status: 0 done, 1 failed on the way, 2 unusable input. `training.jobs.reading` does the work.
"""

import argparse
import sys
from collections.abc import Sequence

from configs.command import run
from training.jobs.reading import SAMPLES, report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.reading", description="What a policy reads off pictures.")
    parser.add_argument("model", help="a folder, or `embedded`")
    parser.add_argument("--config", default="configs/tiny_chart.yaml", help="its domain and prompts")
    parser.add_argument("--set", default="own", help="own: as those it was taught, held out; or a shipped set")
    parser.add_argument("--count", type=int, default=100, help="pictures")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--kill", action="store_true", help=f"the kill test: {SAMPLES} samples at temperature 1")
    args = parser.parse_args(argv)
    return run(lambda: print(report(args.model, args.config, args.set, args.count, args.temperature, args.kill)))


if __name__ == "__main__":
    sys.exit(main())
