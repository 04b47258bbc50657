"""Likeness of two sets of (function, colour), as ChartMimic scores colours (arXiv 2406.09961 and its repository).

Guarantees: the assignment of colours is the best one (Hungarian, where the original enumerates permutations); the
result depends on the two sets alone (the original's filter of more than MANY entries follows the hash order of a set,
here it follows their sorted order); colours are compared by CIEDE2000 in double precision.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Collection

import numpy as np
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.colour import difference

Entry = tuple[str, str]  # function, and #RRGGBB or the name of a colour map
HEX = re.compile(r"#[0-9A-Fa-f]{6}")  # a colour; all else, with whatever sign it begins, is a name that a program chose
MANY = 10  # entries beyond which those alike are left out
ALIKE = 0.7
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


@functools.lru_cache(65_536)
def lab(colour: str) -> tuple[float, float, float]:
    """CIELAB (D65) of #RRGGBB."""
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ linear / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return float(116 * y - 16), float(500 * (x - y)), float(200 * (y - z))


def similarity(first: Collection[str], second: Collection[str]) -> np.ndarray:
    """[n, m] of 0..1: 1 - CIEDE2000 / 100 between two colours, equality between two names, else 0."""
    found = np.array([[float(a == b) for b in second] for a in first]).reshape(len(first), len(second))
    rows = [i for i, colour in enumerate(first) if HEX.fullmatch(colour)]
    columns = [i for i, colour in enumerate(second) if HEX.fullmatch(colour)]
    if rows and columns:
        a, b = ([lab(c) for c in colours if HEX.fullmatch(c)] for colours in (first, second))
        gaps = difference(np.array(a), np.array(b))  # type: ignore[arg-type]
        found[np.ix_(rows, columns)] = np.maximum(0, 1 - gaps / 100)
    return found


def thinned(entries: Collection[Entry]) -> list[Entry]:
    """Of more than MANY entries those whose colours are not alike, first come (in sorted order) first kept. The time
    grows with their number, not its square: a program can show tens of thousands."""
    ordered = sorted(entries)
    if len(ordered) <= MANY:
        return ordered
    first = {colour: (where, colour) for where, colour in reversed(ordered)}  # of each name; names are equal or unlike
    kept = [entry for colour, entry in first.items() if not HEX.fullmatch(colour)]
    left = [entry for entry in ordered if HEX.fullmatch(entry[1])]
    while left:
        kept.append(left[0])
        unlike = similarity([left[0][1]], [colour for _, colour in left])[0] <= ALIKE
        left = [entry for entry, other in zip(left, unlike, strict=True) if other]
    return sorted(kept)


def color_f1(golden: Collection[Entry], generated: Collection[Entry]) -> float:
    """F1 of the best one-to-one assignment within each function; 0 where either side has no colour."""
    sides: list[dict[str, list[str]]] = []
    counts: list[int] = []
    for entries in map(thinned, (golden, generated)):
        by_function = defaultdict(list)
        for function, colour in entries:
            by_function[function].append(colour)
        sides.append(by_function)
        counts.append(len(entries))
    if 0 in counts:
        return 0.0
    total = 0.0
    for function in sides[0].keys() & sides[1].keys():
        likeness = similarity(sides[0][function], sides[1][function])
        total += float(likeness[linear_sum_assignment(likeness, maximize=True)].sum())
    recall, precision = total / counts[0], total / counts[1]
    return 2 * precision * recall / (precision + recall) if total > 0 else 0.0
