"""What is shipped of a base policy: its weights in bfloat16 and a card that says what it was made of.

Guarantees: the folder appears whole; the card has the plan, the hashes of weights and sources, and what was measured.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from actors.files import beside, publish, write_whole
from training.base import curriculum, page_blocks, pages
from training.data import synthetic_charts, synthetic_pages


@dataclass(frozen=True)
class Kind:
    """What a card says of the policies of a domain."""

    subject: str
    reads: str
    made: str
    plan: dict[str, Any]
    sources: tuple[str, ...]
    page: Callable[[dict[str, Any]], str] | None = None  # the card for people, where it is another
    begun: str = "nothing"  # what its training began with


CHARTS = Kind(
    "charts",
    f"{', '.join(synthetic_charts.KINDS)}; one series of 2 to 6 values from 1 to 9; {len(synthetic_charts.COLOURS)} "
    f"colours; {len(synthetic_charts.TITLES)} words as titles; pictures whose axes lie where Matplotlib's default axes "
    "lie.",
    "`make base`: one kind after the other, then looks, tool turns and repairs",
    {
        "plan": [vars(stage) for stage in curriculum.STAGES],
        "batch": curriculum.BATCH,
        "pool": curriculum.POOL,
    },
    (
        "base/charts.py", "base/curriculum.py", "base/lessons.py", "base/pictures.py", "base/repairs.py",
        "base/teach.py", "base/wordlist.py", "data/chart_looks.py", "data/synthetic_charts.py", "data/tiny_policy.py",
    ),
)  # fmt: skip
PAGES = Kind(
    "pages",
    f"{', '.join(synthetic_pages.KINDS)}, up to {synthetic_pages.ROWS} rows of 42 pixels in a window of "
    f"{synthetic_pages.WINDOW[0]} x {synthetic_pages.WINDOW[1]}; {len(synthetic_pages.COLOURS)} colours; "
    f"{len(synthetic_pages.WORDS)} words.",
    "`python -m training.pretrain CONFIG --pages`: words, then blocks, then pages, then looks",
    {
        "plan": [vars(stage) for stage in pages.STAGES],
        "batch": "{} to {}".format(*(f(stage.size for stage in pages.STAGES) for f in (min, max))),
        "sheets": {"plain": len(page_blocks.PLAIN), "looks": len(page_blocks.LOOKS), "blocks": page_blocks.SHEET},
    },
    (
        "base/page_blocks.py", "base/page_words.py", "base/pages.py", "base/teach.py", "base/wordlist.py",
        "data/page_looks.py", "data/synthetic_pages.py", "data/tiny_policy.py",
    ),
    begun="the policy of charts",
)  # fmt: skip


def ship(trained: Path, target: Path, facts: dict[str, Any], kind: Kind) -> None:
    """The policy in bfloat16 with card.json: `facts`, the plan, and hashes of weights and sources."""
    from safetensors.torch import load_file, save_file

    fresh = beside(target)
    for file in trained.iterdir():
        if file.suffix in (".json", ".jinja") and file.name != "state.json":
            shutil.copyfile(file, fresh / file.name)
    weights = {name: value.to(torch.bfloat16) for name, value in load_file(trained / "model.safetensors").items()}
    save_file(weights, fresh / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((fresh / "config.json").read_text())
    write_whole(fresh / "config.json", json.dumps(config | {"dtype": "bfloat16"}, indent=2) + "\n")
    digest = hashlib.sha256((fresh / "model.safetensors").read_bytes()).hexdigest()
    card = facts | {"parameters": sum(value.numel() for value in weights.values()), "weights_sha256": digest}
    card |= kind.plan | {"sources_sha256": {name: _sha(Path(__file__).parents[1] / name) for name in kind.sources}}
    write_whole(fresh / "card.json", json.dumps(card, indent=2) + "\n")
    write_whole(fresh / "MODEL_CARD.md", kind.page(card) if kind.page else _page(card, kind))
    shutil.rmtree(target, ignore_errors=True)
    publish(fresh, target)


def _page(card: dict[str, Any], kind: Kind) -> str:
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
            f"from {kind.begun} on {kind.subject} with labels. It stands where Qwen2.5-VL's pretraining stands: it can "
            f"read simple {kind.subject}, and nothing else. Licence: Apache-2.0, as the project. No data from "
            "elsewhere.",
            "",
            f"- **Reads**: {kind.reads}",
            f"- **Made by** {kind.made}; {card['steps']} steps of {card['batch']} dialogues, {card['cpu_s']} "
            f"CPU-seconds{card.get('machine', '')}; seed {card['seed']}. Plan and hashes: `card.json`.",
            f"- **Measured** on {card.get('pictures', 0)} held-out {kind.subject} of its own domain, half plain, half "
            "varied:",
            "",
            "| | " + " | ".join(measured) + " |",
            "|---|" + "---|" * len(measured),
            *rows,
            "",
            f"Scored against another picture's facts (greedy): {chance}.",
            "",
        ]
    )


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
