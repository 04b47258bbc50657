"""The command `python -m training.ledger`: see `training.run.ledger_summary`."""

import sys

from training.run.ledger_summary import main

if __name__ == "__main__":
    sys.exit(main())
