"""`make bench`: runs every benchmark, or the named ones, and writes what they measured as JSON.

python -m tests.bench [NAME ...] [--out DIR]
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
HELPER = "latency_profile"  # what two benchmarks share


def main() -> int:
    found = {p.stem: ".".join(p.relative_to(HERE).with_suffix("").parts) for p in HERE.rglob("[a-z]*.py")}
    places = {name: place for name, place in found.items() if name != HELPER}
    names = sorted(places)
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)} (all of them if none)")
    parser.add_argument("--out", type=Path, default=Path("build/bench"), help="folder of the JSON files")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        print(f"error: no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(names)}", file=sys.stderr)
        return 2
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in args.names or names:
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        try:
            figures = importlib.import_module(f"tests.bench.{places[name]}").main(args.out)
        except pytest.skip.Exception as missing:
            print(f"left out: {missing}", flush=True)
            continue
        machine = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
        result = {"benchmark": name, "seconds": round(time.perf_counter() - started, 1), "machine": machine, **figures}
        (args.out / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        print(f"-> {args.out / name}.json", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
