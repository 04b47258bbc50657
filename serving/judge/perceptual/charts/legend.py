"""Which text lines are entries of a legend: those with a key, a short stroke or patch of their own, just before them.

Guarantees: a key is as high as its line at most, stands free on all sides, and is coloured or one of several in a row
or column, so ticks, colour bars and curves that pass by are none.
"""

import numpy as np
from numpy.typing import NDArray

FRAME_INK = 0.35  # a legend's own frame is fainter
Mask = NDArray[np.bool_]


def keys(
    boxes: NDArray[np.int32], ink: Mask, coloured: Mask, frame: tuple[float, float, float, float]
) -> NDArray[np.int32]:
    """For each text line [n] the first column of its key, -1 without one. `ink` is neither text nor long lines. Lengths
    are in heights of the line; a Matplotlib key is 2 em long and stands 0.8 em before its text."""
    first_column = np.full(len(boxes), -1, np.int32)
    hued = np.zeros(len(boxes), dtype=bool)
    outside = (boxes[:, 0] > frame[0]) & (boxes[:, 3] < frame[3])  # of the tick labels
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        high = y1 - y0
        if x1 - x0 < 2.5 * high or not outside[i]:
            continue
        left = max(0, x0 - 5 * high)
        inked = np.flatnonzero(ink[y0:y1, left:x0].any(axis=0))
        if len(inked) == 0:
            continue
        breaks = np.flatnonzero(np.diff(inked) > max(2, high // 2))
        first = int(inked[breaks[-1] + 1]) if len(breaks) else int(inked[0])
        last = int(inked[-1])
        length, gap = last - first + 1, x0 - left - 1 - last
        if not (0.3 * high <= length <= 3.5 * high and gap <= 2 * high and (first > 0 or left == 0)):
            continue
        reach = max(2, high // 2)
        key = slice(left + first, left + last + 1)
        around = ink[max(0, y0 - reach) : max(0, y0 - 1), key], ink[y1 + 1 : y1 + reach, key]
        if not any(rows.any(axis=0).mean() > 0.5 for rows in around if rows.size):
            first_column[i] = left + first
        hued[i] = x1 - x0 >= 4 * high and coloured[y0:y1, key].any(axis=0).mean() > 0.5
    found = first_column >= 0
    x, y = boxes[:, 0], boxes[:, 3]
    aligned = (np.abs(x[:, None] - x[None]) <= 3) | (np.abs(y[:, None] - y[None]) <= 3)
    return np.where(found & (hued | ((aligned & found[None]).sum(axis=1) > 1)), first_column, -1)
