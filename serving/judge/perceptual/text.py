"""Text areas and long straight lines, without reading a letter.

Guarantees: a text line is a run of small, thin, separate strokes; solid areas and lines longer than an eighth of the
canvas are never text.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.spread import Maps, spreads

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]  # x0, y0, x1, y1

NEUTRAL_CHROMA = 22.0  # of a chart's text; coloured strokes are data
MAX_BOXES = 96


@dataclass(frozen=True)
class TextLines:
    """`boxes` [n, 4] in canvas pixels, from top to bottom; `mask` [h, w] covers them and `spread` is its blurs;
    `pixels` [h, w] is the ink of the text alone, 0..255."""

    boxes: NDArray[np.int32]
    mask: Mask
    pixels: NDArray[np.uint8]
    spread: Maps


def _opened(mask: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Morphological opening of a 0/1 mask by a box of `shape` (rows, columns)."""
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones(shape, np.uint8)).astype(np.uint8, copy=False)


def find_lines(mass: NDArray[np.float32]) -> tuple[Mask, Box | None]:
    """Long thin straight lines (spines, grid, rules) and the box they span; None without lines."""
    h, w = mass.shape
    inked = (mass > 0.25).astype(np.uint8)
    across = _opened(inked, (1, max(12, w // 8)))
    down = _opened(inked, (max(12, h // 8), 1))
    thick = max(4, h // 60)
    across = across & ~_opened(across, (thick, 1))
    down = down & ~_opened(down, (1, thick))
    lines = (across | down).astype(bool)
    if not lines.any():
        return lines, None
    # a bold title in a small picture runs together into a line, but not into a spine
    spines = (_opened(across, (1, max(12, w // 4))) | _opened(down, (max(12, h // 4), 1))).astype(bool)
    around = spines if spines.any() else lines
    rows, columns = np.flatnonzero(around.any(axis=1)), np.flatnonzero(around.any(axis=0))
    return lines, (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def find_text(mass: NDArray[np.float32], lines: Mask, chroma: NDArray[np.float32] | None) -> TextLines:
    """Text lines of a canvas; with `chroma`, only neutral ink is looked at."""
    h, w = mass.shape
    inked = mass > 0.25
    if chroma is not None:
        inked &= chroma < NEUTRAL_CHROMA
    strokes = (inked & ~lines).astype(np.uint8)
    core = _opened(strokes, (6, 6))
    if core.any():
        strokes &= 1 - cv2.dilate(core, np.ones((5, 5), np.uint8)).astype(np.uint8, copy=False)
    gap = 5 if h * w < 150_000 else 7
    joined = cv2.dilate(strokes, np.ones((1, gap), np.uint8))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    tallest = max(16, int(0.07 * h)) if chroma is None else max(24, int(0.1 * h))
    height, width, area = (
        stats[:, cv2.CC_STAT_HEIGHT],
        stats[:, cv2.CC_STAT_WIDTH] - gap + 1,
        stats[:, cv2.CC_STAT_AREA],
    )
    fits = (height >= 4) & (height <= tallest) & (width >= 2) & (area >= 8)
    fits[0] = False
    index = np.flatnonzero(fits)
    if len(index) > MAX_BOXES:
        index = index[np.argsort(-stats[index, cv2.CC_STAT_AREA], kind="stable")[:MAX_BOXES]]
    keep = np.zeros(len(stats), dtype=bool)
    keep[index] = True
    mask = keep[labels]
    x, y = stats[index, cv2.CC_STAT_LEFT], stats[index, cv2.CC_STAT_TOP]
    x1, y1 = np.minimum(w, x + stats[index, cv2.CC_STAT_WIDTH]), y + height[index]
    boxes = np.stack([x, y, x1, y1], axis=1).astype(np.int32)
    pixels = np.where(mask, mass * 255, 0).astype(np.uint8)
    return TextLines(boxes[np.lexsort((boxes[:, 0], boxes[:, 1]))], mask, pixels, spreads(mask))


def letters(lines: TextLines) -> NDArray[np.float32]:
    """Size of the letters of each line [n], canvas pixels: the height of a solid bar whose ink is spread as widely."""
    sizes = np.ones(len(lines.boxes), dtype=np.float32)
    for i, (x0, y0, x1, y1) in enumerate(lines.boxes):
        rows = lines.pixels[y0:y1, x0:x1].sum(axis=1, dtype=np.float32)
        at = np.arange(len(rows), dtype=np.float32)
        total = max(1.0, float(rows.sum()))
        middle = float((rows * at).sum()) / total
        sizes[i] = max(1.0, (12 * float((rows * (at - middle) ** 2).sum()) / total) ** 0.5)
    return sizes
