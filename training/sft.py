"""The command `python -m training.sft`: see `training.jobs.sft`."""

import sys

from training.jobs.sft import main

if __name__ == "__main__":
    sys.exit(main())
