"""The command `python -m training.feedback_use`: see `training.jobs.feedback_use`."""

import sys

from training.jobs.feedback_use import main

if __name__ == "__main__":
    sys.exit(main())
