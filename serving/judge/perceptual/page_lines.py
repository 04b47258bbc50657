"""Which line of a target page's text is which of the render's, and whether it says the same.

Guarantees: a line has one partner at most, near the place where it belongs; words are compared letter by letter, as a
chart's are, so that other words on the same spot are worth nothing and the same ones in another typeface nearly all.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.charts.glyphs import Words, similarity

REACH = (0.15, 0.08)  # of the canvas' width and height, how far a line may lie from its partner
UNLIKE = 0.35  # of the thumbs, below which letters need not be compared

Agreement = tuple[NDArray[np.float32], NDArray[np.float32]]


def match_lines(target: Words, render: Words, canvas: tuple[int, int]) -> Agreement:
    """How well each line of the target [n] is found in the render, and the other way round [m]: 0..1. Both lie on one
    canvas (width, height)."""
    found, known = np.zeros(len(target.boxes), np.float32), np.zeros(len(render.boxes), np.float32)
    if len(found) == 0 or len(known) == 0:
        return found, known
    x, y = (
        np.abs((target.boxes[:, k] + target.boxes[:, k + 2])[:, None] - (render.boxes[:, k] + render.boxes[:, k + 2]))
        / (2 * REACH[k] * canvas[k])
        for k in (0, 1)
    )
    near = np.exp(-(x**2) - y**2)
    alike = np.clip(target.thumbs @ render.thumbs.T, 0, 1)
    rows, columns = linear_sum_assignment(-near * (0.2 + alike))
    good = (near[rows, columns] > 0.05) & (alike[rows, columns] > UNLIKE)
    rows, columns = rows[good], columns[good]
    found[rows] = known[columns] = similarity(target, rows, render, columns)
    return found, known
