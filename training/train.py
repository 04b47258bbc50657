"""The command `python -m training.train`: see `training.jobs.train`."""

import sys

from training.jobs.train import main

if __name__ == "__main__":
    sys.exit(main())
