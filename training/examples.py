"""Draw a domain's own examples: pictures, and the sources that draw them, for a supervised start.

    python -m training.examples CONFIG DIR [--count 2000] [--lessons 0] [--split train] [key=value ...]
    python -m training.sft CONFIG DIR/.../index.jsonl run.name=start

Prints the file for training.sft that was written; with --lessons it holds as many dialogues with the tool as well.
Exit status: 0 done, 1 failed on the way, 2 unusable input.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from configs.load import load
from training.data import examples


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.examples", description="Draw a domain's own examples.")
    parser.add_argument("config", help="a YAML file of configs/")
    parser.add_argument("out", type=Path, help="the folder to write to")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that win over the file")
    parser.add_argument("--count", type=int, default=2000, help="examples (default: 2000)")
    parser.add_argument("--lessons", type=int, default=0, help="dialogues with a call of the tool (default: none)")
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    args = parser.parse_intermixed_args(argv)

    def draw() -> None:
        config = load(args.config, args.overrides)
        domain, seed, most = config.data.domain, config.run.seed, config.feedback.max_chars
        folder = examples.write(args.out, domain, args.split, args.count, seed, args.lessons, most)
        print(folder / (examples.LESSONS if args.lessons else examples.INDEX))

    return run(draw)


if __name__ == "__main__":
    sys.exit(main())
