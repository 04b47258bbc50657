"""Frames of legends: thin rectangles that hold keys with their labels.

Guarantees: a frame is found by its four lines, which end at its corners, so that no cell of a grid and no plotting area
is one; it is a legend's where there is text in it and a key before the text. A line is a ridge, darker or lighter than
what is on both of its sides, on any ground.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

BESIDE = 2  # pixels from the middle of a line to what is beside it
CONTRAST = 6  # levels of 255 between a line and its sides
GAP = 5  # pixels of a line that a curve below it may hide
MOST_LINES = 32  # of a picture, the longest ones
CORNER = 5  # pixels that a rounded corner takes
COVERED, TOGETHER = 0.35, 2.8  # of a side that must be a line, as bars may stand behind it, and of all four
BEHIND = 0.42  # ink of what is seen through a legend, four fifths of which are opaque
SEEN_THROUGH, TOUCHED = 64, 0.15  # levels by which a bar behind a legend differs; share of strokes that touch its lines
LEAST = 12  # pixels of a side
LARGEST = 0.7  # of a picture's sides: a frame that is wider or higher is a plotting area

Mask = NDArray[np.bool_]
Boxes = NDArray[np.int32]
Box = tuple[int, int, int, int]


def find_frames(small: NDArray[np.uint8]) -> Boxes:
    """Boxes [k, 4] (x0, y0, x1, y1) of the thin rectangles of a canvas [h, w, 3], the lines themselves within."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)
    h, w = grey.shape
    found: list[Box] = []
    for sign in (1, -1):
        rows, columns = _ridges(grey, sign), _ridges(np.ascontiguousarray(grey.T), sign)
        down = [(x0, y0, x1, y1) for y0, x0, y1, x1 in _runs(columns, max(8, h // 24))]
        for line in _runs(rows, max(10, w // 14)):
            if line[2] - line[0] <= LARGEST * w:
                boxes = [box for side in down for box in _corners(line, side)]
                found += [b for b in boxes if _is_closed(rows, columns, b) and _is_apart(grey, rows, columns, b)]
    found.sort(key=lambda b: -(b[2] - b[0]) * (b[3] - b[1]))
    kept: list[Box] = []
    for x0, y0, x1, y1 in found:
        if not any(x0 >= a0 - 2 and y0 >= b0 - 2 and x1 <= a1 + 2 and y1 <= b1 + 2 for a0, b0, a1, b1 in kept):
            kept.append((x0, y0, x1, y1))
    return np.array(kept, np.int32).reshape(-1, 4)


def _corners(line: Box, side: Box) -> list[Box]:
    """Boxes that have an upper or lower `line` as wide as they are and a left or right `side` that meets it."""
    if abs(side[0] - line[0]) > CORNER and abs(side[2] - line[2]) > CORNER:
        return []
    x0, x1 = min(side[0], line[0]), max(side[2], line[2])
    found = []
    if abs(side[1] - line[1]) <= CORNER:
        found.append((x0, line[1], x1, side[3]))
    if abs(side[3] - line[3]) <= CORNER:
        found.append((x0, side[1], x1, line[3]))
    return found


def _is_closed(rows: NDArray[np.uint8], columns: NDArray[np.uint8], box: Box) -> bool:
    """Whether a box of a legend's size has lines on all sides, of which marks may hide a part; `columns` are turned."""
    x0, y0, x1, y1 = box
    if not (LEAST <= y1 - y0 <= LARGEST * len(rows) and x1 - x0 >= LEAST):
        return False
    sides = [_covered(rows, y, x0, x1) for y in (y0, y1)] + [_covered(columns, x, y0, y1) for x in (x0, x1)]
    return min(sides) >= COVERED and sum(sides) >= TOGETHER


def _is_apart(grey: NDArray[np.int16], rows: NDArray[np.uint8], columns: NDArray[np.uint8], box: Box) -> bool:
    """Whether nothing touches the lines from within, as strokes of letters do, and they end at the corners, as those of
    a grid do not."""
    x0, y0, x1, y1 = (side + inward for side, inward in zip(box, (3, 3, -4, -4), strict=True))
    inner = grey[y0 : y1 + 1, x0 : x1 + 1]
    ring = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    if float((np.abs(ring - np.median(ring)) > SEEN_THROUGH).mean()) > TOUCHED:
        return False
    going_on = 0
    x0, y0, x1, y1 = box
    for ridges, (start, end), sides in ((rows, (x0, x1), (y0, y1)), (columns, (y0, y1), (x0, x1))):
        for at in sides:
            line = ridges[max(0, at - 2) : at + 3].max(axis=0)
            for beyond in (
                line[max(0, start - CORNER - 4) : max(0, start - CORNER)],
                line[end + CORNER : end + CORNER + 4],
            ):
                going_on += int(beyond.size > 0 and bool(beyond.all()))
    return going_on < 3


def _covered(ridges: NDArray[np.uint8], at: int, start: int, end: int) -> float:
    """How much of a side is a line."""
    part = ridges[max(0, at - CORNER) : at + CORNER, start + CORNER : end - CORNER]
    return float(part.mean(axis=1).max()) if part.size else 0.0


def _ridges(grey: NDArray[np.int16], sign: int) -> NDArray[np.uint8]:
    """Where rows are darker (`sign` 1) or lighter (-1) than those above and below."""
    ridges = np.zeros(grey.shape, np.uint8)
    middle = grey[BESIDE:-BESIDE]
    beside = np.minimum(sign * (grey[: -2 * BESIDE] - middle), sign * (grey[2 * BESIDE :] - middle))
    ridges[BESIDE:-BESIDE] = beside >= CONTRAST
    return ridges


def _runs(lines: NDArray[np.uint8], least: int) -> list[Box]:
    """Boxes of the straight thin runs of `least` pixels and more, from the top."""
    lines = cv2.morphologyEx(lines, cv2.MORPH_CLOSE, np.ones((1, GAP), np.uint8)).astype(np.uint8, copy=False)
    runs = cv2.morphologyEx(lines, cv2.MORPH_OPEN, np.ones((1, least), np.uint8))
    _, _, stats, _ = cv2.connectedComponentsWithStats(runs, connectivity=8)
    stats = stats[1:][stats[1:, cv2.CC_STAT_HEIGHT] <= 2 * BESIDE]
    stats = stats[np.argsort(-stats[:, cv2.CC_STAT_WIDTH], kind="stable")[:MOST_LINES]]
    boxes = [(int(x), int(y), int(x + width), int(y + height)) for x, y, width, height, _ in stats]
    return sorted(boxes, key=lambda b: b[1])


def outlines(frames: Boxes, shape: tuple[int, int]) -> Mask:
    """The lines of `frames` on a canvas of `shape`, and a pixel around them: no strokes of letters."""
    mask = np.zeros(shape, np.uint8)
    for x0, y0, x1, y1 in frames.tolist():
        cv2.rectangle(mask, (x0, y0), (x1 - 1, y1 - 1), 1, 3)
    return mask.astype(bool)


def in_front(mass: NDArray[np.float32], frames: Boxes) -> NDArray[np.float32]:
    """The ink [h, w] without the curves that are seen through the legends' ground."""
    if len(frames) == 0:
        return mass
    mass = mass.copy()
    for x0, y0, x1, y1 in frames.tolist():
        inside = mass[y0:y1, x0:x1]
        inside[inside < BEHIND] = 0
    return mass


def legends(frames: Boxes, words: Boxes, ink: Mask) -> tuple[Boxes, Mask]:
    """The frames [k, 4] that hold a key before a line of text, and which of the `words` [n, 4] are their entries; keys
    are `ink` and no text."""
    x, y = (words[:, 0] + words[:, 2]) / 2, (words[:, 1] + words[:, 3]) / 2
    entries, kept = np.zeros(len(words), bool), []
    for x0, y0, x1, y1 in frames.tolist():
        inside = (words[:, 0] > x0) & (x < x1) & (y > y0) & (y < y1)
        if any(ink[top:bottom, x0 + 2 : left].any() for left, top, _, bottom in words[inside].tolist()):
            kept.append((x0, y0, x1, y1))
            entries |= inside
    return np.array(kept, np.int32).reshape(-1, 4), entries
