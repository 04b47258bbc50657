"""What the shipped pictures of a domain show, and how the text of a program is compared with it.

Guarantees: for evaluation alone; no reward comes from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.domains import find
from training.data import foreign_charts, foreign_pages, synthetic_charts, synthetic_pages


@dataclass(frozen=True)
class Labels:
    """`attributes(program)` is what a program shows (None: nothing known), `shown_by(facts)` what a line of a manifest
    says, `draw(index, seed, split)` what the base policy's generator made: all have `read_out`, `program` and `answer`.
    `hits(shown, read)` has each of `names` in 0..1. `file` holds the pictures; of its sets `held_out` are measured by a
    run."""

    names: tuple[str, ...]
    attributes: Callable[[str], Any | None]
    shown_by: Callable[[dict[str, Any]], Any]
    hits: Callable[[Any, Any | None], dict[str, float]]
    draw: Callable[[int, int, synthetic_charts.Split], Any]
    file: Path
    held_out: tuple[str, ...]


CHARTS = Labels(
    synthetic_charts.ATTRIBUTES,
    synthetic_charts.attributes,
    synthetic_charts.shown_by,
    synthetic_charts.hits,
    synthetic_charts.draw,
    foreign_charts.SHIPPED,
    ("heldout", "third"),
)
PAGES = Labels(
    synthetic_pages.ATTRIBUTES,
    synthetic_pages.attributes,
    synthetic_pages.shown_by,
    synthetic_pages.hits,
    synthetic_pages.draw,
    foreign_pages.SHIPPED,
    ("heldout", "gallery"),
)
LABELS = {"chart": CHARTS, "web": PAGES}


def labels_of(domain: str) -> Labels | None:
    """Those of a domain's shipped pictures; None where it has none. Raises configs.domains.Unusable."""
    return LABELS.get(find(domain).name)
