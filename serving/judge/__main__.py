"""Compare two pictures and print the verdict as JSON.

    python -m serving.judge TARGET RENDER [--domain web] [--backend mllm --url URL]

Exit status: 0 judged, 1 an outage, 2 unusable input.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from configs.command import run
from configs.domains import DEFAULT
from configs.schema import Judge
from serving.judge.service import judge_files


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m serving.judge", description="Compare two pictures.")
    parser.add_argument("target", type=Path)
    parser.add_argument("render", type=Path)
    parser.add_argument("--domain", default=DEFAULT, help="one of configs/domains, or FILE.py")
    parser.add_argument("--backend", choices=("perceptual", "mllm"), default="perceptual")
    parser.add_argument("--url", default="", help="an OpenAI-compatible endpoint, for --backend mllm")
    parser.add_argument("--model", default="", help="its model name; empty takes the first it lists")
    chosen = parser.parse_args(argv)
    if chosen.backend == "mllm" and not chosen.url:
        parser.error("--backend mllm needs --url of an OpenAI-compatible endpoint")
    config = Judge(backend=chosen.backend, url=chosen.url, model=chosen.model)

    def judge() -> None:
        verdict = asyncio.run(judge_files(config, chosen.target, chosen.render, chosen.domain))
        print(json.dumps(asdict(verdict)))

    return run(judge, unusable=(OSError, ValueError))


if __name__ == "__main__":
    sys.exit(main())
