"""Similarity of two sets of (function, colour), as ChartMimic scores colours (arXiv 2406.09961 and its repository).

Guarantees: the assignment of colours is the best one (Hungarian, where the original enumerates permutations); the
result depends on the two sets alone (the original's filter of more than MANY entries follows the hash order of a set,
another in every process; here it follows their sorted order, or is averaged over ORDERS orders); colours are compared
by CIEDE2000 in double precision, from sRGB by the matrix of the original's library (colormath 3).
"""

import functools
import random
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from statistics import fmean

import numpy as np
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.colour import difference

Entry = tuple[str, str]  # function, and #RRGGBB or the name of a colour map
HEX = re.compile(r"#[0-9A-Fa-f]{6}")  # a colour; all else, with whatever sign it begins, is a name that a program chose
MANY = 10  # entries beyond which those alike are left out
ALIKE = 0.7
ORDERS = 200
TO_XYZ = np.array([[0.412424, 0.357579, 0.180464], [0.212656, 0.715158, 0.0721856], [0.0193324, 0.119193, 0.950444]])
WHITE = np.array([0.95047, 1.0, 1.08883])  # D65


@functools.lru_cache(65_536)
def lab(colour: str) -> tuple[float, float, float]:
    """CIELAB (D65) of #RRGGBB."""
    return lab_of(tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


def lab_of(rgb: Sequence[float]) -> tuple[float, float, float]:
    """CIELAB (D65) of three values in 0..255."""
    srgb = np.array(rgb) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ linear / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
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
    return _f1(thinned(golden), thinned(generated))


def color_f1_orders(golden: Collection[Entry], generated: Collection[Entry]) -> list[float]:
    """What the original may find: one value, or where it filters by chance one for each of ORDERS orders."""
    if max(len(golden), len(generated)) <= MANY:
        return [_f1(list(golden), list(generated))]
    rng, found = random.Random(0), []
    for _ in range(ORDERS):
        sides = []
        for entries in (sorted(golden), sorted(generated)):
            rng.shuffle(entries)
            sides.append(_first_come(entries) if len(entries) > MANY else entries)
        found.append(_f1(*sides))
    return found


def color_f1_official(golden: Collection[Entry], generated: Collection[Entry]) -> float:
    """The original's value, its mean where chance has a part in it."""
    return fmean(color_f1_orders(golden, generated))


def _first_come(entries: Sequence[Entry]) -> list[Entry]:
    """The entries that resemble none kept before them."""
    colours = [colour for _, colour in entries]
    left, kept = np.ones(len(entries), bool), []
    while left.any():
        i = int(np.argmax(left))
        kept.append(entries[i])
        left[: i + 1] = False
        rest = np.flatnonzero(left)
        left[rest[similarity([colours[i]], [colours[j] for j in rest])[0] > ALIKE]] = False
    return kept


def _f1(golden: Sequence[Entry], generated: Sequence[Entry]) -> float:
    sides: list[dict[str, list[str]]] = []
    for entries in (golden, generated):
        by_function = defaultdict(list)
        for function, colour in entries:
            by_function[function].append(colour)
        sides.append(by_function)
    if not golden or not generated:
        return 0.0
    total = 0.0
    for function in sides[0].keys() & sides[1].keys():
        found = similarity(sides[0][function], sides[1][function])
        total += float(found[linear_sum_assignment(found, maximize=True)].sum())
    recall, precision = total / len(golden), total / len(generated)
    return 2 * precision * recall / (precision + recall) if total > 0 else 0.0
