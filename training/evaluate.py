"""The command `python -m training.evaluate`: see `training.jobs.evaluate`."""

import sys

from training.jobs.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
