"""The summary of a run's ledger: what was dispatched, what became of it, what that cost.

    python -m training.ledger RUN [--json]

Exit status: 0 the ledger balances, 1 it does not, 2 there is none.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.run.ledger_summary import report


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.ledger", description="The ledger of a run's groups.")
    parser.add_argument("run", type=Path, help="a run's folder or a checkpoint, e.g. runs/latest")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    args = parser.parse_args(argv)
    return run(lambda: report(args.run, args.json), unusable=(OSError, ValueError))


if __name__ == "__main__":
    sys.exit(main())
