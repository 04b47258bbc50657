"""Which marks a chart is made of, from the outlines of its coloured areas.

Guarantees: `shares` is a distribution over `KINDS` (or all zero where there is no data ink); it depends on outlines
alone, neither on colour nor on place. Classification is geometric: extent, fill and which sides line up.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.spread import Maps, spreads

KINDS = ("bars", "horizontal bars", "lines", "points", "pie", "areas")
SOLID, THIN = [0, 1, 4, 5], [2, 3]  # kinds that look alike from afar: filled areas, and strokes or dots
MAX_LABELS = 8
ROUND = 0.86  # of its box a disc fills pi/4, a bar all

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Shapes:
    """`shares` [6] over KINDS; `data` [h, w] is the ink of the marks and `spread` its blurs; `share` its part of the
    canvas, `box` its extent; `count` marks."""

    shares: NDArray[np.float32]
    data: Mask
    share: float
    box: tuple[int, int, int, int]
    count: int
    spread: Maps
    labels: NDArray[np.int8]  # the palette's index of each pixel

    @property
    def kind(self) -> str | None:
        """The kind that most of the ink belongs to; None where no kind stands out."""
        top = int(self.shares.argmax())
        return KINDS[top] if self.shares[top] > 0.45 else None


def _data_ink(
    mass: NDArray[np.float32], labels: NDArray[np.int8], coloured: NDArray[np.bool_], text: Mask, lines: Mask
) -> Mask:
    """Coloured ink; in a colourless chart all ink that is neither text nor a long line."""
    inked = (labels >= 0) & (mass > 0.15)
    hued = inked & np.append(coloured, False)[labels]
    plain = inked & ~text & ~lines
    return hued if hued.sum() > 0.15 * plain.sum() and hued.sum() > 8 else plain


def find_shapes(
    mass: NDArray[np.float32],
    labels: NDArray[np.int8],
    coloured: NDArray[np.bool_],
    text: Mask,
    lines: Mask,
) -> Shapes:
    """Shapes of a canvas whose pixels carry the palette index `labels` (-1: no ink)."""
    h, w = mass.shape
    data = _data_ink(mass, labels, coloured, text, lines)
    shares = np.zeros(len(KINDS), dtype=np.float32)
    if data.sum() < 6:
        return Shapes(shares, data, 0.0, (0, 0, 0, 0), 0, spreads(np.zeros_like(data)), labels)
    rows, columns = np.flatnonzero(data.any(axis=1)), np.flatnonzero(data.any(axis=0))
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    boxes, areas, widths = _components(data, labels)
    if _is_disc(data):
        shares[KINDS.index("pie")] = 1.0
    elif len(boxes):
        shares = _classify(boxes, areas, widths, min(h, w))
    return Shapes(shares, data, float(data.mean()), box, len(boxes), spreads(data), labels)


def similarity(a: Shapes, b: Shapes) -> float:
    """How alike the marks are in kind and number: the overlap of their shares, half as much for
    marks of the same family, and a little for equal numbers. 0 where only one side has marks."""
    if not a.count or not b.count:
        return 0.0
    same = np.minimum(a.shares, b.shares)
    rest_a, rest_b = a.shares - same, b.shares - same
    related = sum(min(float(rest_a[family].sum()), float(rest_b[family].sum())) for family in (SOLID, THIN))
    many = min(a.count, b.count) / max(a.count, b.count)
    return (float(same.sum()) + 0.5 * related) * (0.85 + 0.15 * many)


def _components(
    data: Mask, labels: NDArray[np.int8]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Boxes [n, 4] (x, y, width, height), areas [n] and stroke widths [n] of the connected parts of each colour."""
    boxes, areas, widths = [], [], []
    for label in np.unique(labels[data])[:MAX_LABELS]:
        part = (data & (labels == label)).astype(np.uint8)
        n, parts, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
        depth = cv2.distanceTransform(part, cv2.DIST_L2, 3).ravel()
        area = stats[:, cv2.CC_STAT_AREA]
        # the mean distance from the border of a stroke is a quarter of its width
        width = 4 * np.bincount(parts.ravel(), depth, minlength=n) / np.maximum(1, area) - 1
        large = area >= 3
        large[0] = False
        boxes.append(stats[large, :4])
        areas.append(area[large])
        widths.append(width[large])
    return np.concatenate(boxes).astype(np.int32), np.concatenate(areas).astype(np.int32), np.concatenate(widths)


def _is_disc(data: Mask) -> bool:
    """Most of the ink is one round area: it covers pi/4 of a nearly square box."""
    whole = cv2.morphologyEx(data.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(whole, connectivity=8)
    if len(stats) < 2:
        return False
    _, _, width, height, area = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    if area < 0.6 * stats[1:, cv2.CC_STAT_AREA].sum() or min(width, height) < 0.2 * min(data.shape):
        return False
    return 0.85 < width / height < 1.18 and 0.68 < area / (width * height) < 0.86


def _classify(
    boxes: NDArray[np.int32], areas: NDArray[np.int32], widths: NDArray[np.float32], side: int
) -> NDArray[np.float32]:
    """Shares of KINDS, weighted by area. `side` is the shorter side of the canvas."""
    x, y, width, height = (boxes[:, i].astype(np.float32) for i in range(4))
    long, short = np.maximum(width, height), np.minimum(width, height)
    fill = areas / (width * height)
    thin = widths < max(7.0, 0.045 * side)
    small = np.where(fill < ROUND, np.maximum(7.0, 0.1 * side), np.maximum(7.0, 0.07 * side))
    point = (long <= small) & (long < 2.5 * short)
    solid = (fill > 0.82) & (short >= 4) & ~point
    line = thin & ~point & ~solid
    area = ~(point | solid | line)
    weight = areas.astype(np.float32)
    total = weight.sum()
    shares = np.zeros(len(KINDS), dtype=np.float32)
    if solid.any():
        upright = _spread(y + height, weight, solid) <= _spread(x, weight, solid)
        shares[0 if upright else 1] = weight[solid].sum() / total
    shares[2] = weight[line].sum() / total
    shares[3] = weight[point].sum() / total
    shares[5] = weight[area].sum() / total
    return shares


def _spread(side: NDArray[np.float32], weight: NDArray[np.float32], chosen: Mask) -> float:
    """Weighted mean distance of one side of the chosen boxes from their median."""
    values, weights = side[chosen], weight[chosen]
    return float(np.average(np.abs(values - np.median(values)), weights=weights))
