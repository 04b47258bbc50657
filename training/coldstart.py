"""Make the embedded policy and print its folder.

    python -m training.coldstart CONFIG [key=value ...]

Exit status: 0 done, 2 unusable input.
"""

import argparse
import sys
from collections.abc import Sequence

from configs.command import run
from configs.load import load
from training.jobs.coldstart import ensure_policy


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.coldstart", description="Make the embedded policy.")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    args = parser.parse_intermixed_args(argv)
    return run(lambda: print(ensure_policy(load(args.config, args.overrides))))


if __name__ == "__main__":
    sys.exit(main())
