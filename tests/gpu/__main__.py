"""One GPU, torch and transformers: does the learner work there, and how fast?

    python -m tests.gpu [--device cuda|cpu] [--out FILE]

Needs no Ray, no vLLM and no network (Python 3.11 or later, torch 2.11 or later, transformers, OmegaConf; peft
and flash-attn are used where they are). At most six minutes on a GPU; prints one JSON object with the card's name, what
was measured and what failed. On a CPU it makes the checks of numbers at a small size and no speeds.
"""

import argparse
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tests.gpu import numbers, speed
from training.learner.ranks import grow_segments

Check = Callable[[torch.device, Path], dict[str, Any]]
CHECKS: dict[str, Check] = {
    "attention kernels": numbers.kernels,
    "bfloat16 against float32": numbers.precision,
    "packed against padded": numbers.packed_and_padded,
    "save and resume": numbers.resume,
    "gradient checkpointing and logprob_chunk": numbers.savings,
    "LoRA": numbers.lora,
}
ON_A_GPU: dict[str, Check] = {"memory against the plan": speed.memory, "speed against transformers": speed.speed}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 where nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description="Check the learner on one GPU.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    args = parser.parse_args(argv)
    grow_segments()
    device = torch.device(args.device, 0) if args.device == "cuda" else torch.device("cpu")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "failed": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, check in (CHECKS | (ON_A_GPU if device.type == "cuda" else {})).items():
            began = time.perf_counter()
            try:
                result = check(device, Path(folder))
            except Exception as error:  # the others are still worth their minute of a GPU
                print(traceback.format_exc(), file=sys.stderr)
                result = {"error": f"{type(error).__name__}: {error}"}
            result["seconds"] = round(time.perf_counter() - began, 1)
            found[name] = result
            if "error" in result or not result.get("holds", True):
                found["failed"].append(name)
    text = json.dumps(found, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
