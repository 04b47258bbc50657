"""Figures of a replica as Ray metrics, so that Prometheus sees them where Ray's are collected.

Guarantees: one gauge for each number, named rrvf_PART_FIGURE; whatever is no number is left out.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any


@cache
def _gauge(name: str) -> Any:
    from ray.util.metrics import Gauge

    return Gauge(name, description=f"{name}, since the start of the replica")


def export(part: str, figures: Mapping[str, Any]) -> None:
    """Set the gauges of `part` (render, judge) to `figures`; called with every health check."""
    for figure, value in figures.items():
        if isinstance(value, int | float):
            _gauge(f"rrvf_{part}_{figure}").set(float(value))
