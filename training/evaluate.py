"""A benchmark answered by a model in single turns, and graded.

    python -m training.evaluate BENCHMARK (--model PATH|URL | --answers FILE|DIR) --data DIR
                                [--judge URL|perceptual] [--questions PATH] [--prompts PATH] [--clip PATH] [--official]
                                [--config FILE] [--out DIR] [--limit N] [--resume] [key=value ...]

Exit status: 0 all graded, 1 cases left open by an outage, 2 unusable input, 130 interrupted.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from configs.command import run
from training.evaluation import benchmarks
from training.jobs.evaluate import Request, evaluate


def parse(argv: Sequence[str] | None) -> Request:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description="Evaluate a model on a benchmark.")
    parser.add_argument("benchmark", help=f"one of: {', '.join(benchmarks.LOADERS)}")
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", default="", help="a folder, a hub name, or an OpenAI-compatible address (.../v1)")
    who.add_argument("--answers", type=Path, help="answers that exist: JSONL, JSON, or a folder of programs or pages")
    parser.add_argument("--model-name", default="", help="its name at that address; empty takes the first it lists")
    parser.add_argument("--data", type=Path, required=True, help="the benchmark's folder")
    parser.add_argument("--judge", default="", help="an OpenAI-compatible address, or perceptual")
    parser.add_argument("--judge-model", default="", help="its name at that address; empty takes the first it lists")
    parser.add_argument("--questions", type=Path, help="clone of the benchmark, for its judge's published question")
    parser.add_argument("--prompts", type=Path, help="clone of the benchmark, for its published prompt")
    parser.add_argument("--official", action="store_true", help="the original's scores and readings, faults included")
    parser.add_argument("--clip", default="", help="a CLIP model: local path or hub name")
    parser.add_argument("--config", help="a YAML of configs/: engine, limits and the prompts a policy was trained with")
    parser.add_argument("--out", type=Path, help="folder of the results; evaluations/BENCHMARK-MODEL if not given")
    parser.add_argument("--limit", type=int, help="only the first N cases")
    parser.add_argument("--resume", action="store_true", help="go on with an evaluation that was interrupted")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings (python -m configs.describe)")
    return Request(**vars(parser.parse_intermixed_args(argv)))


def main(argv: Sequence[str] | None = None) -> int:
    request = parse(argv)
    return run(lambda: asyncio.run(evaluate(request)), hint="what is graded is kept: go on with --resume")


if __name__ == "__main__":
    sys.exit(main())
