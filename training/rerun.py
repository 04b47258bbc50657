"""The command `python -m training.rerun`: see `training.jobs.rerun`."""

import sys

from training.jobs.rerun import main

if __name__ == "__main__":
    sys.exit(main())
