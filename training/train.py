"""Train a policy.

    python -m training.train CONFIG [key=value ...] [--dry-run [--gpus NxGIB]] [--resume RUN [--verify]]

Exit status: 0 done or stopped cleanly, 1 failed on the way, 2 unusable input. `training.jobs.train` does the work.
"""

import argparse
import sys
from collections.abc import Sequence

from configs.command import run
from training.jobs.train import train


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description="Train a policy with RRVF.")
    parser.add_argument("config", nargs="?", help="a YAML file of configs/; may be left out with --resume")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved config and the plan; start nothing")
    parser.add_argument("--gpus", metavar="NxGIB", help="with --dry-run: plan for GPUs that are not here, e.g. 8x80")
    parser.add_argument("--resume", metavar="RUN", help="go on with a run's folder (runs/latest) from its checkpoint")
    parser.add_argument("--verify", action="store_true", help="with --resume: check its ledger first and report")
    args = parser.parse_intermixed_args(argv)
    file, overrides = args.config, args.overrides
    if file is not None and "=" in file:
        file, overrides = None, [file, *overrides]
    return run(lambda: train(file, overrides, resume=args.resume, verify=args.verify, dry=args.dry_run, gpus=args.gpus))


if __name__ == "__main__":
    sys.exit(main())
