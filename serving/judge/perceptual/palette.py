"""The colours of a picture's ink and how well two palettes agree.

Guarantees: anti-aliased outlines are blends of a colour with the background and never colours of their own. A chart is
known by its hues: black and gray weigh at most a quarter where there is any colour, and agreement is the best
one-to-one assignment (Hungarian method, as in ChartMimic's colour score) under CIEDE2000. A page is known by all of its
colours, black and gray as any other, and agreement is what need not be moved from one palette to the other (earth
mover's distance): it follows amounts steadily, so that a small icon or a few words more cannot turn it.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.colour import Lab, difference

Way = Literal["plot", "page"]  # of looking at a picture: see configs.domains.domain.Look
MAX_COLOURS = 10
FULL = 50.0  # CIELAB distance from the background at which a colour counts fully
BLENDED = 6.0  # CIEDE2000 by which a chart's thin line may pale where its picture is scaled
FAR = 40.0  # CIEDE2000 at which two colours have nothing in common


@dataclass(frozen=True)
class Palette:
    """Colours of the ink, Lab [k, 3], largest area first; `weights` [k] sum to 1 (square root of area times strength,
    a chart's neutral colours together at most NEUTRAL); `coloured` [k] marks those with a hue."""

    colours: Lab
    weights: NDArray[np.float32]
    coloured: NDArray[np.bool_]


@dataclass(frozen=True)
class Pairing:
    """Pairs (target, render, CIEDE2000) of the assignment, what each side has over, and the agreement 0..1."""

    pairs: list[tuple[int, int, float]]
    missing: list[int]
    extra: list[int]
    agreement: float


def pair(target: Palette, render: Palette, way: Way) -> Pairing:
    """Assign the colours of two palettes. Agreement of charts = sum of min(w_i, w_j) (1 - dE/FAR) over pairs nearer
    than FAR (a histogram intersection, Swain and Ballard 1991); of pages = 1 - the earth mover's distance (Rubner,
    Tomasi, Guibas 2000) between the weights, at a cost of min(1, dE/FAR) (thresholded as by Pele and Werman 2009)."""
    if len(target.weights) == 0 or len(render.weights) == 0:
        return Pairing([], list(range(len(target.weights))), list(range(len(render.weights))), 0.0)
    apart = difference(target.colours, render.colours)
    free = BLENDED if way == "plot" else 0.0
    closeness = 1 - np.clip((apart - free) / (FAR - free), 0, 1)
    gain = np.minimum(target.weights[:, None], render.weights[None]) * closeness
    rows, columns = linear_sum_assignment(-(gain + 1e-9 * closeness))
    good = [(int(i), int(j), float(apart[i, j])) for i, j in zip(rows, columns, strict=True) if closeness[i, j] > 0]
    missing = sorted(set(range(len(target.weights))) - {i for i, _, _ in good})
    extra = sorted(set(range(len(render.weights))) - {j for _, j, _ in good})
    agreement = float(gain[rows, columns].sum())
    if way == "page":
        cost = (1 - closeness).astype(np.float32)
        work, _, _ = cv2.EMD(target.weights[:, None], render.weights[:, None], cv2.DIST_USER, cost)
        agreement = float(np.clip(1 - work, 0.0, 1.0))
    return Pairing(good, missing, extra, agreement)


NEUTRAL = 0.25  # weight of all neutral colours of a chart together, where there is a coloured one
BLEND = 0.15  # weight of a pixel of an outline
GRAYED = 3.0  # chroma that a blend of a hue would have, from which its lack shows
HUED = 14.0  # chroma above which a colour has a hue


def find_palette(
    lab: Lab, background: Lab, mass: NDArray[np.float32], way: Way, flat: NDArray[np.bool_] | None = None
) -> tuple[Palette, NDArray[np.int8]]:
    """Palette of the ink and, for each pixel, the index of its colour (-1: no ink).

    Colours are bins of CIELAB merged greedily from the largest: a bin joins a colour within 12, or one whose blend
    with the background it is (anti-aliased outlines are blends, not colours of their own). Pixels that are not `flat`
    weigh little: where two areas meet there are blends of both.
    """
    h, w = mass.shape
    labels = np.full(h * w, -1, dtype=np.int8)
    inked = np.flatnonzero(mass.ravel() > 0.12)
    empty = Palette(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, bool))
    if len(inked) == 0:
        return empty, labels.reshape(h, w)
    pixels = lab.reshape(-1, 3)[inked]
    cells = np.clip((pixels + np.array([0, 128, 128], np.float32)) / np.array([7, 9, 9], np.float32), 0, 31).astype(
        np.int32
    )
    bins = (cells[:, 0] << 10) | (cells[:, 1] << 5) | cells[:, 2]
    worth = np.ones(len(inked)) if flat is None else np.where(flat.ravel()[inked], 1.0, BLEND)
    counts = np.bincount(bins, worth, minlength=32768)
    order = np.flatnonzero(counts)
    order = order[np.argsort(-counts[order], kind="stable")][:160]
    place = np.full(32768, -1, dtype=np.int16)
    place[order] = np.arange(len(order))
    spot = place[bins]
    kept = spot >= 0
    sums = np.stack(
        [np.bincount(spot[kept], pixels[kept, i] * worth[kept], minlength=len(order)) for i in range(3)], axis=1
    )
    centres = (sums / counts[order][:, None]).astype(np.float32)
    owner = _merge(centres, counts[order].astype(np.float64), background, 1.5 if flat is None else 4.0)
    used = np.unique(owner)
    area = np.array([counts[order][owner == i].sum() for i in used], dtype=np.float64)
    best = used[np.argsort(-area, kind="stable")][:MAX_COLOURS]
    # what is farthest from the background is least of a blend with it
    pull = counts[order] * np.linalg.norm(centres - background, axis=1) ** 4
    colours = np.stack([np.average(centres[owner == i], axis=0, weights=pull[owner == i]) for i in best]).astype(
        np.float32
    )
    area = np.sort(area)[::-1][:MAX_COLOURS]
    slot = {int(i): n for n, i in enumerate(best)}
    to_slot = np.array([slot.get(int(i), -1) for i in owner], dtype=np.int8)
    labels[inked[kept]] = to_slot[spot[kept]]
    strength = np.minimum(1.0, np.linalg.norm(colours - background, axis=1) / FULL)
    weights = np.sqrt(area) * strength
    coloured = np.hypot(colours[:, 1], colours[:, 2]) > HUED
    strong = coloured & (weights > 0.02 * weights.sum())
    if way == "plot" and strong.any() and (~coloured).any():
        neutral, rest = weights[~coloured].sum(), weights[coloured].sum()
        limit = NEUTRAL / (1 - NEUTRAL) * rest
        weights[~coloured] *= min(1.0, limit / max(neutral, 1e-9))
    weights = weights / weights.sum()
    return Palette(colours, weights.astype(np.float32), coloured), labels.reshape(h, w)


def _merge(centres: Lab, counts: NDArray[np.float64], background: Lab, paler: float) -> NDArray[np.int64]:
    """For each bin, the strongest first, the bin that stands for its colour: [n, 3] -> [n]. A blend has `paler` times
    as many pixels as what it is a blend of at most."""
    rays = centres - background
    lengths = np.linalg.norm(rays, axis=1) + 1e-6
    cosine = (rays / lengths[:, None]) @ (rays / lengths[:, None]).T
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    off_ray = lengths[:, None] * np.sqrt(np.maximum(0, 1 - cosine**2))  # distance of bin i from the ray of bin j
    blend = (cosine > 0) & (off_ray < (14 if paler < 2 else 22)) & (lengths[:, None] < lengths[None] * 1.05)
    chroma = np.hypot(rays[:, 1], rays[:, 2])
    expected = chroma[None] * lengths[:, None] / lengths[None]
    if paler > 2:  # of a chart: a gray grid is no pale blue
        blend &= ~((expected > GRAYED) & (chroma[:, None] < 0.35 * expected))
    same = (apart < 14) | (blend & (counts[:, None] < paler * counts[None]))
    owner = np.arange(len(centres))
    heads: list[int] = []
    strong = np.argsort(-counts * lengths**2, kind="stable") if paler > 2 else np.arange(len(centres))
    for i in strong.tolist():
        alike = [j for j in heads if same[i, j]]
        if alike:  # of two colours that it may be a blend of, it is one of the nearer ray
            owner[i] = min(alike, key=lambda j: min(off_ray[i, j], apart[i, j]))
        else:
            heads.append(i)
    return owner
