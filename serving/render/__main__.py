"""Render programs or pages, one JSON line a file.

    python -m serving.render FILE... [--domain chart|web|svg|FILE.py] [--out DIR]

Exit status: 0 every file was read, whatever became of it, 1 one was not, or an outage, 2 nothing can be drawn here or
no such domain.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from serving.render.sandbox import LAYERS
from serving.render.service import render_files


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.render", description="Render programs or pages to PNG.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--domain", help="default: by each file's ending, else chart")
    parser.add_argument("--out", type=Path, default=Path("renders"), help="folder of the PNGs (default: renders)")
    parser.add_argument(
        "--allow-missing", nargs="+", default=[], metavar="LAYER", choices=LAYERS, help="layers this machine may lack"
    )
    args = parser.parse_args(argv)
    return run(lambda: not asyncio.run(render_files(args.files, args.domain, args.out, args.allow_missing)))


if __name__ == "__main__":
    sys.exit(main())
