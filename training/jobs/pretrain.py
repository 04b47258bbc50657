"""Making the base policy and measuring what it reads, before it is shipped.

Guarantees: stopped or killed, it goes on when started again; run.seed decides pictures, order and weights; what it
reads of held-out charts is measured and written into its card.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from configs.load import load
from training.base import SHIPPED, make
from training.base.read import measure, own


def pretrain(
    file: str, overrides: Sequence[str], folder: Path, out: Path | None, count: int, shuffled: bool = False
) -> None:
    """Make the policy in `folder` and ship it to `out` (default: the package's own). `shuffled`: the control alone,
    which ships nothing."""
    torch.set_num_threads(1)
    config = load(file, overrides)
    if shuffled:
        for kind, figures in make.control(folder, config.prompts, config.run.seed).items():
            print(f"{kind}, pictures shuffled in training: " + ", ".join(f"{k} {v:.3f}" for k, v in figures.items()))
        return
    trained = make.make(folder, config.prompts, config.run.seed)
    last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
    facts = {"seed": config.run.seed, "steps": last["step"], "cpu_s": last["cpu_s"], "held_out": last["held_out"]}
    facts["charts"] = count
    shown, pictures = own(count)
    for name, temperature in (("greedy", 0.0), ("temperature 1", 1.0)):
        print(f"reading {count} held-out charts, {name}", flush=True)
        facts[name] = measure(trained, config.prompts, shown, pictures, temperature)
    make.ship(trained, out or SHIPPED, facts)
    print(out or SHIPPED)
