"""The command `python -m serving.judge`: see `serving.judge.service`."""

import sys

from serving.judge.service import main

if __name__ == "__main__":
    sys.exit(main())
