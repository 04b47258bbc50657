"""Where the plotting areas of a chart are: the boxes that spines, grids or a patch of another colour span.

Guarantees: boxes [n, 4] (x0, y0, x1, y1) in canvas pixels with fractions, the centres of the lines that bound them, in
reading order; none lies inside another; a chart without axes has none. Nothing depends on what is drawn inside.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

LEAST = 0.12  # of the canvas: a panel is at least as wide and as high
FAINT_LINE = 0.09  # ink of the palest spine or grid line that counts, #e0e0e0 on white
MAX_PANELS = 16

Boxes = NDArray[np.float32]
Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]


def find_panels(small: NDArray[np.uint8], mass: NDArray[np.float32], paper: NDArray[np.uint8]) -> Boxes:
    """The plotting areas of a canvas [h, w, 3] with ink `mass` [h, w] on `paper`."""
    h, w = mass.shape
    lines = straight(mass > FAINT_LINE, max(10, w // 7), max(10, h // 7))
    boxes = [_centred(mass, lines, box) for box in _boxes(lines) if _is_outlined(lines, box)]
    for colour in _patches(small, paper):
        same = (np.abs(small.astype(np.int16) - colour).max(axis=2) <= 6).astype(np.uint8)
        closed = cv2.morphologyEx(same, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.uint8, copy=False)
        whole = _opened(closed, (9, 9)).astype(bool)  # without ticks and labels of the same gray
        boxes += [box for box in _boxes(whole) if _is_patch(whole, box) and not _is_even(small, colour, box)]
    return _ordered(_outermost(boxes), h)


def straight(inked: Mask, across: int, down: int) -> Mask:
    """Thin straight runs of at least `across` pixels in a row or `down` in a column, without what a bar leaves of them:
    a tick below it continues its side."""
    ink = inked.astype(np.uint8)
    h, w = ink.shape
    thick = max(4, h // 60)
    rows = _opened(ink, (1, across))
    rows = _opened(rows & (1 - _opened(rows, (thick, 1))), (1, max(5, w // 32)))
    columns = _opened(ink, (down, 1))
    columns = _opened(columns & (1 - _opened(columns, (1, thick))), (max(5, h // 26), 1))
    return (rows | columns).astype(bool)


def _opened(mask: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones(shape, np.uint8)).astype(np.uint8, copy=False)


def _patches(small: NDArray[np.uint8], paper: NDArray[np.uint8]) -> list[NDArray[np.int16]]:
    """Colours that may be a patch behind the axes: other ones than the paper, on a tenth of the picture and more."""
    few = small[::2, ::2].reshape(-1, 3)
    bins = (few[:, 0].astype(np.int32) >> 3) << 10 | (few[:, 1] >> 3).astype(np.int32) << 5 | few[:, 2] >> 3
    counts = np.bincount(bins)
    top = np.flatnonzero(counts >= 0.1 * len(few))
    found = []
    for value in top[np.argsort(-counts[top], kind="stable")]:
        colour = np.median(few[bins == value], axis=0).astype(np.int16)
        if np.abs(colour - paper).max() > 6:
            found.append(colour)
    return found


def _boxes(mask: Mask) -> list[Box]:
    """Boxes of the connected parts that are large enough for a panel."""
    h, w = mask.shape
    joined = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    return [
        (max(0.0, x + 1.0), max(0.0, y + 1.0), x + width - 1.0, y + height - 1.0)
        for x, y, width, height, _ in stats[1:]
        if width >= LEAST * w and height >= LEAST * h
    ]


def _is_outlined(lines: Mask, box: Box) -> bool:
    """Two sides of the box are lines at least."""
    x0, y0, x1, y1 = (int(v) for v in box)
    part = lines[y0:y1, x0:x1]
    sides = [part[:4].any(axis=0), part[-4:].any(axis=0), part[:, :4].any(axis=1), part[:, -4:].any(axis=1)]
    return sorted(float(side.mean()) for side in sides)[-2] > 0.5


def _is_patch(mask: Mask, box: Box) -> bool:
    """A third of the box is of the colour, and nearly all of three of its sides: marks may stand on the fourth."""
    x0, y0, x1, y1 = (int(v) for v in box)
    part = mask[y0:y1, x0:x1]
    sides = sorted(float(side.mean()) for side in (part[1], part[-2], part[:, 1], part[:, -2]))
    return bool(part.mean() > 0.35 and sides[1] > 0.8)


def _is_even(small: NDArray[np.uint8], colour: NDArray[np.int16], box: Box) -> bool:
    """Whether nothing is drawn in it: a bar, no plotting area."""
    x0, y0, x1, y1 = (int(v) for v in box)
    inner = small[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].astype(np.int16)
    return int((np.abs(inner - colour).max(axis=2) > 24).sum()) < 4


def _outermost(boxes: list[Box]) -> list[Box]:
    """Boxes that lie in no larger one, the largest ones first."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: -(b[2] - b[0]) * (b[3] - b[1])):
        x0, y0, x1, y1 = box
        area = (x1 - x0) * (y1 - y0)
        inside = (max(0.0, min(x1, b[2]) - max(x0, b[0])) * max(0.0, min(y1, b[3]) - max(y0, b[1])) for b in kept)
        if all(part < 0.7 * area for part in inside):
            kept.append(box)
    return kept[:MAX_PANELS]


def _centred(mass: NDArray[np.float32], lines: Mask, box: Box) -> Box:
    """The box to the centres of its outer lines where there are lines (a tick in a row with a spine is none)."""
    x0, y0, x1, y1 = (int(v) for v in box)
    there = lines[y0:y1, x0:x1]
    part = np.where(there, mass[y0:y1, x0:x1], 0)
    columns, rows = (part.sum(axis=0), there.mean(axis=0)), (part.sum(axis=1), there.mean(axis=1))
    left, right = _edge(*columns), _edge(columns[0][::-1], columns[1][::-1])
    top, bottom = _edge(*rows), _edge(rows[0][::-1], rows[1][::-1])
    return x0 + left, y0 + top, x1 - right, y1 - bottom


def _edge(ink: NDArray[np.float32], covered: NDArray[np.float64]) -> float:
    """How far inside the first line of a profile has its centre; 0 without one."""
    near = covered[: max(5, len(covered) // 10)] >= 0.4
    near[:3] |= covered[:3] >= 0.15  # bars hide most of the line that they stand on
    if not near.any():
        return 0.0
    first = int(near.argmax())
    peak = first + int(ink[first : first + 3].argmax())
    around = slice(max(0, peak - 1), peak + 2)
    weights = ink[around]
    return float((weights * (np.arange(len(ink))[around] + 0.5)).sum() / weights.sum())


def _ordered(boxes: list[Box], height: int) -> Boxes:
    """Row by row, from the left; rows are a tenth of the canvas high."""
    ordered = sorted(boxes, key=lambda b: (round(10 * b[1] / height), b[0]))
    return np.array(ordered, np.float32).reshape(-1, 4)
