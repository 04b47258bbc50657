"""The command `python -m training.coldstart`: see `training.jobs.coldstart`."""

import sys

from training.jobs.coldstart import main

if __name__ == "__main__":
    sys.exit(main())
