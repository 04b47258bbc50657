"""The perceptual judge on real charts and pages, their perturbed versions, and pairs of different ones.

Order, naming, fixed points and fooling, by the code that the ranking tests run on a sample. Targets come spread over
the set until the time is up; how many were measured is printed. Pictures are made once and kept, so a first run
measures fewer. Every two targets that were measured are compared, each pair once.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.serving.judge import pictures, web_edits
from tests.serving.judge.similarity_cases import Found, measure, table

SECONDS = 270.0  # for each domain; all of it fits one core where the pictures are there
STRIDE = 5


def summary(found: Found, targets: int) -> dict:
    return {
        "targets": f"{len(found.scores['base'])} of {targets}",
        "nested_pairs": len(found.ordered),
        "in_order": float(np.mean(found.ordered)),
        "named": {kind: float(np.mean(hits)) for kind, hits in found.named.items()},
        "median": {version: float(np.median(scores)) for version, scores in found.scores.items()},
        "least_3px": min(found.scores["3px"]),
        "most_blank": max(found.scores["blank"]),
        "another_pairs": len(found.scores["another"]),
        "most_another": max(found.scores["another"], default=0.0),
        "another_below_0.35": float(np.mean(np.array(found.scores["another"]) < 0.35)),
        "most_raised_by_sway": max(found.raised, default=0.0),
        "fooled": found.fooled,
    }


def until(
    seconds: float, names: list[str], make: Callable[[str], dict[str, bytes]]
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Versions of targets from all over the set, at least of two, until `seconds` have passed."""
    end = time.monotonic() + seconds
    for count, name in enumerate(name for first in range(STRIDE) for name in names[first::STRIDE]):
        if count >= 2 and time.monotonic() > end:
            return
        yield name, make(name)


def main(out_dir: Path, seconds: float = SECONDS) -> dict:
    """One summary for each domain."""
    result = {}
    for word, domain, source in (("charts", "chart", pictures), ("pages", "web", web_edits)):
        names = source.names()
        found = measure(until(seconds, names, source.versions), source.SINGLE, domain, others=len(names))
        result[word] = summary(found, len(names))
        print(f"{word}: {result[word]['targets']}\n{table(found)}", flush=True)
    return result
