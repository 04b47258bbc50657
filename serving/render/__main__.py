"""The command `python -m serving.render`: see `serving.render.service`."""

import sys

from serving.render.service import main

if __name__ == "__main__":
    sys.exit(main())
