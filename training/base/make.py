"""Making the base policy: pictures, tool turns, training and what is shipped, in one go.

Guarantees: started again after whatever ended it, it goes on where it was; the same seed and sources give the same
plan, pictures and batches; the shipped folder appears whole, in bfloat16, with a card that says what it was made of.
"""

import hashlib
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from actors.files import beside, publish, write_whole
from configs.schema import Prompts
from training.base import curriculum, lessons, pictures, repairs, teach
from training.base.wordlist import texts
from training.data import tiny_policy
from training.data.synthetic_charts import COLOURS, KINDS, TITLES

SOURCES = (
    "base/curriculum.py", "base/lessons.py", "base/pictures.py", "base/repairs.py", "base/teach.py", "base/wordlist.py",
    "data/chart_looks.py", "data/synthetic_charts.py", "data/tiny_policy.py",
)  # fmt: skip


def make(folder: Path, prompts: Prompts, seed: int) -> Path:
    """The trained policy's folder under `folder`, in float32; drawing runs beside training in a process of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "trained"
    if done.exists():
        return done
    if not (untrained := folder / "untrained").exists():
        tiny_policy.build(untrained, seed, texts(seed))
    drawing = multiprocessing.get_context("spawn").Process(
        target=_draw, args=(folder / "pictures", seed), name="drawing", daemon=True
    )
    drawing.start()
    try:
        pools = pictures.Pools(folder / "pictures", seed, drawing.is_alive)
        teach.train(untrained, folder, pools, prompts, seed, folder / "reading", steps=curriculum.READS)
        repairs.make(folder / "pictures", folder / "reading", prompts, curriculum.REPAIRS, seed, os.cpu_count() or 1)
        teach.train(untrained, folder, pools, prompts, seed, done)
    finally:
        drawing.kill()
    return done


def control(folder: Path, prompts: Prompts, seed: int) -> dict[str, dict[str, float]]:
    """What the first stage teaches when every chart comes with another's picture: held-out figures, by kind and look.
    More than chance in the values would be a leak of the pipeline."""
    drawn, shuffled = folder / "pictures", folder / "shuffled"
    first = curriculum.STAGES[0]
    drawn.mkdir(parents=True, exist_ok=True)
    shuffled.mkdir(exist_ok=True)
    for split, kind, look, number in curriculum.needed_shards():
        if (kind, look) != (first.new, "plain"):
            break
        pictures.draw_shard(drawn, split, kind, look, number, seed)
    if not (untrained := folder / "untrained").exists():
        tiny_policy.build(untrained, seed, texts(seed))
    pools, out = pictures.Pools(drawn, seed), shuffled / "trained"
    teach.train(untrained, shuffled, pools, prompts, seed, out, steps=first.steps, shuffled=True)
    lines = (shuffled / "log.jsonl").read_text().splitlines()
    found: dict[str, dict[str, float]] = json.loads(lines[-1])["held_out"]
    return found


def _draw(folder: Path, seed: int) -> None:
    """Everything that training shows, in the order in which it is needed; what is there already is kept."""
    os.nice(5)
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    for split, kind, look, number in curriculum.needed_shards():
        pictures.draw_shard(folder, split, kind, look, number, seed)
    if not (folder / lessons.FILE).exists():
        lessons.make(folder, KINDS, curriculum.LESSON_LOOKS, curriculum.LESSONS, seed)


def ship(trained: Path, target: Path, facts: dict[str, Any]) -> None:
    """The policy in bfloat16 with card.json: `facts`, the plan, and hashes of weights and sources."""
    from safetensors.torch import load_file, save_file

    fresh = beside(target)
    for file in trained.iterdir():
        if file.suffix != ".safetensors":
            shutil.copyfile(file, fresh / file.name)
    weights = {name: value.to(torch.bfloat16) for name, value in load_file(trained / "model.safetensors").items()}
    save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((fresh / "config.json").read_text())
    write_whole(fresh / "config.json", json.dumps(config | {"dtype": "bfloat16"}, indent=2) + "\n")
    digest = hashlib.sha256((fresh / "model.safetensors").read_bytes()).hexdigest()
    card = facts | {
        "parameters": sum(value.numel() for value in weights.values()),
        "weights_sha256": digest,
        "plan": [vars(stage) for stage in curriculum.STAGES],
        "batch": curriculum.BATCH,
        "pool": curriculum.POOL,
        "sources_sha256": {name: _sha(Path(__file__).parents[1] / name) for name in SOURCES},
    }
    write_whole(fresh / "card.json", json.dumps(card, indent=2) + "\n")
    write_whole(fresh / "MODEL_CARD.md", _page(card))
    shutil.rmtree(target, ignore_errors=True)
    publish(fresh, target)


def _page(card: dict[str, Any]) -> str:
    """The card for people."""
    measured = [mode for mode in ("greedy", "temperature 1") if mode in card]
    names = [n for n in card.get("greedy", {}) if not n.startswith("exchanged")]
    rows = [f"| {n} | " + " | ".join(f"{card[mode][n]:.3f}" for mode in measured) + " |" for n in names]
    other = [n for n in card.get("greedy", {}) if n.startswith("exchanged")]
    chance = ", ".join(f"{n.removeprefix('exchanged ')} {card['greedy'][n]:.3f}" for n in other)
    return "\n".join(
        [
            "# The embedded base policy",
            "",
            f"Qwen2.5-VL's architecture with {card['parameters'] / 1e6:.1f} million parameters in bfloat16, trained "
            "from nothing on charts with labels. It stands where Qwen2.5-VL's pretraining stands: it can read simple "
            "charts, and nothing else. Licence: Apache-2.0, as the project. No data from elsewhere.",
            "",
            f"- **Reads**: {', '.join(KINDS)}; one series of 2 to 6 values from 1 to 9; {len(COLOURS)} colours; "
            f"{len(TITLES)} words as titles; pictures whose axes lie where Matplotlib's default axes lie.",
            f"- **Made by** `make base`: {card['steps']} steps of {card['batch']} dialogues, {card['cpu_s']} "
            "CPU-seconds on one core; one kind after the other, then looks, tool turns and repairs; seed "
            f"{card['seed']}. Plan and hashes: `card.json`.",
            f"- **Measured** on {card.get('charts', 0)} held-out charts of its own domain, half plain, half varied:",
            "",
            "| | " + " | ".join(measured) + " |",
            "|---|" + "---|" * len(measured),
            *rows,
            "",
            f"Scored against another chart's facts (greedy): {chance}.",
            "",
        ]
    )


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
