"""The command `python -m training.view`: see `training.jobs.view`."""

import sys

from training.jobs.view import main

if __name__ == "__main__":
    sys.exit(main())
