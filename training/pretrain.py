"""Make a base policy anew, resumable at any moment: that of charts in an hour and a half of two cores, that of pages in
about an hour of one, or in four minutes beside a GPU, and two for drawing its blocks.

    python -m training.pretrain CONFIG [key=value ...] [--dir runs/base] [--out DIR] [--count 500]      (make base)
    python -m training.pretrain CONFIG --shuffled      the first stage with pictures exchanged: teaches nothing
    python -m training.pretrain CONFIG --pages [--train-only]                 the policy of pages instead

Exit status: 0 done, 1 failed on the way (start again to go on), 2 unusable input. `training.jobs.pretrain` does the
work.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.jobs.pretrain import pretrain, pretrain_pages


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description="Make the shipped base policy.")
    parser.add_argument("config", help="a YAML file of configs/: its prompts and run.seed")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--dir", type=Path, default=Path("runs/base"), help="where it keeps its state")
    parser.add_argument("--out", type=Path, help="where it is shipped; default: the package's own policy")
    parser.add_argument("--count", type=int, default=500, help="held-out charts of the card's figures")
    parser.add_argument("--shuffled", action="store_true", help="a control: exchange the pictures, ship nothing")
    parser.add_argument("--pages", action="store_true", help="the policy of pages, from DIR/blocks.npz")
    parser.add_argument("--train-only", action="store_true", help="pages: the blocks are there; ship nothing")
    args = parser.parse_intermixed_args(argv)
    if args.pages:
        given = (args.config, args.overrides, args.dir, args.out, args.count, args.train_only)
        return run(lambda: pretrain_pages(*given))
    return run(lambda: pretrain(args.config, args.overrides, args.dir, args.out, args.count, args.shuffled))


if __name__ == "__main__":
    sys.exit(main())
