"""The command `python -m training.experiment`: see `training.jobs.experiment`."""

import sys

from training.jobs.experiment import main

if __name__ == "__main__":
    sys.exit(main())
