"""Which text lines are entries of a legend: those with a key, a short stroke or patch of their own, just before them.

Guarantees: a key is as high as its line at most, stands free on all sides, and is coloured or one of several in a row
or column, so ticks, colour bars and curves that pass by are none.
"""

import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.features import Features

FRAME_INK = 0.35  # a legend's own frame is fainter


def entries(features: Features) -> NDArray[np.bool_]:
    """For each text line [n] whether it has a key. Lengths are in heights of the line; a Matplotlib key is 2 em long
    and stands 0.8 em before its text."""
    text = features.text
    ink = (features.mass > FRAME_INK) & ~text.mask & ~features.lines
    found, coloured = np.zeros(len(text.boxes), dtype=bool), np.zeros(len(text.boxes), dtype=bool)
    outside = (text.boxes[:, 0] > features.frame[0]) & (text.boxes[:, 3] < features.frame[3])  # of the tick labels
    for i, (x0, y0, x1, y1) in enumerate(text.boxes):
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
        found[i] = not any(rows.any(axis=0).mean() > 0.5 for rows in around if rows.size)
        coloured[i] = x1 - x0 >= 4 * high and features.shapes.data[y0:y1, key].any(axis=0).mean() > 0.5
    x, y = text.boxes[:, 0], text.boxes[:, 3]
    aligned = (np.abs(x[:, None] - x[None]) <= 3) | (np.abs(y[:, None] - y[None]) <= 3)
    return found & (coloured | ((aligned & found[None]).sum(axis=1) > 1))
