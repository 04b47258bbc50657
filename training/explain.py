"""The command `python -m training.explain`: see `training.jobs.explain`."""

import sys

from training.jobs.explain import main

if __name__ == "__main__":
    sys.exit(main())
