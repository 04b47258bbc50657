"""Whether a model will train here: processor, engine, learner, one step, weight sync and checkpoint, as a table.

    python -m training.check_model MODEL [key=value ...] [--config CONFIG]

Exit status: 0 all holds, 1 something does not, 2 unusable settings.
"""

import argparse
import sys
from collections.abc import Sequence

from configs.command import run
from training.jobs.check_model import check


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.check_model", description="Will this model train here?")
    parser.add_argument("model", help="a folder or a hub name")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--config", help="a YAML file of configs/")
    args = parser.parse_intermixed_args(argv)
    return run(lambda: check(args.model, args.config, args.overrides))


if __name__ == "__main__":
    sys.exit(main())
