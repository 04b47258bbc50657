"""Train a policy on given answers: image-code pairs, or conversations of several turns.

    python -m training.sft CONFIG DATA.jsonl [key=value ...] [--resume RUN]

Exit status: 0 done, 1 failed on the way, 2 unusable input. `training.jobs.sft` says what a line of DATA is.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.sft import learn


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.sft", description="Train a policy on given answers.")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("data", type=Path, help="a JSONL file of pairs or traces (see training/jobs/sft.py)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--resume", metavar="RUN", type=Path, help="go on with a run's folder from its checkpoint")
    args = parser.parse_intermixed_args(argv)
    return run(lambda: learn(args.config, args.data, args.overrides, args.resume))


if __name__ == "__main__":
    sys.exit(main())
