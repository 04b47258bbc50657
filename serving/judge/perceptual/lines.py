"""Which line of a target's text is which of the render's, and whether it says the same.

Guarantees: a line has one partner at most, in the same part of the chart (title, x axis, y axis, right, inside); what
it is worth follows from its part, not from its size; tick labels, which change with the size of a figure, count little.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.charts.glyphs import LETTER, Words, similarity
from serving.judge.perceptual.charts.register import Map
from serving.judge.perceptual.features import Features, Survey

PARTS = ("title", "bottom", "left", "right", "inside", "ticks")
WORTH = {"title": 0.4, "bottom": 0.15, "left": 0.15, "right": 0.2, "inside": 0.25, "ticks": 0.04}
REACH = 0.25  # of the plotting area, how far a line may lie from its partner


@dataclass(frozen=True)
class Lines:
    """`found` [n] and `known` [m]: how well each line of the target is found in the render, and the other way round;
    `partner` [n] the render's line or -1; `parts` of both sides index PARTS; `score` 0..1."""

    score: float
    found: NDArray[np.float32]
    known: NDArray[np.float32]
    partner: NDArray[np.int64]
    parts: tuple[NDArray[np.int8], NDArray[np.int8]]


def match_lines(target: Features, render: Survey, whole: Map) -> Lines:
    """Match the lines of two charts, those of the render where `whole` lays them."""
    a, b = target.words, render.words
    laid = whole.boxes(b.boxes)
    frame = tuple(map(float, target.frame))
    parts = parts_of(a.boxes, frame, a.turned), parts_of(laid, frame, b.turned)
    for part, keyed in zip(parts, (target.keyed, render.keyed), strict=True):
        part[keyed] = PARTS.index("inside")
    found, known = np.zeros(len(a.boxes), np.float32), np.zeros(len(b.boxes), np.float32)
    partner = np.full(len(a.boxes), -1, np.int64)
    if len(found) and len(known):
        near = _nearness(a.boxes, laid, parts, frame)
        near[np.ix_(target.keyed, render.keyed)] = 1.0  # a legend may lie anywhere
        alike = np.clip(a.thumbs @ b.thumbs.T, 0, 1)
        rows, columns = linear_sum_assignment(-near * (0.2 + alike))
        good = near[rows, columns] > 0.05
        rows, columns = rows[good], columns[good]
        same = np.clip((alike[rows, columns] - 0.6) / 0.3, 0, 1)  # good enough for tick labels
        worded = parts[0][rows] != PARTS.index("ticks")
        same[worded] = similarity(a, rows[worded], b, columns[worded])
        found[rows] = known[columns] = same
        partner[rows] = columns
    return Lines(_score(a, b, parts, found, known), found, known, partner, parts)


def parts_of(boxes: NDArray[np.float32], frame: tuple[float, ...], turned: NDArray[np.bool_]) -> NDArray[np.int8]:
    """For each line the index in PARTS of where it is: around the frame (x0, y0, x1, y1), inside, or a tick label, as
    all are that stand left of it and are not `turned`."""
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    where = np.full(len(boxes), PARTS.index("inside"), np.int8)
    where[x > frame[2]] = PARTS.index("right")
    where[x < frame[0]] = PARTS.index("left")
    where[y > frame[3]] = PARTS.index("bottom")
    where[y < frame[1]] = PARTS.index("title")
    high = float(np.median(boxes[:, 3] - boxes[:, 1])) if len(boxes) else 0.0
    below = (where == PARTS.index("bottom")) & (boxes[:, 1] - frame[3] < 1.6 * high)
    where[(where == PARTS.index("left")) & ~turned] = PARTS.index("ticks")
    if below.sum() > 1:
        where[below] = PARTS.index("ticks")
    return where


def _nearness(
    a: NDArray[np.float32], b: NDArray[np.float32], parts: tuple[NDArray[np.int8], NDArray[np.int8]], frame: tuple
) -> NDArray[np.float32]:
    """How well the places of two lists of lines agree, 0..1: [n, m]. Along an axis counts more than away from it."""
    wide, high = max(1.0, frame[2] - frame[0]), max(1.0, frame[3] - frame[1])
    middle = [((x[:, 0] + x[:, 2]) / 2 / wide, (x[:, 1] + x[:, 3]) / 2 / high) for x in (a, b)]
    dx = np.abs(middle[0][0][:, None] - middle[1][0][None])
    dy = np.abs(middle[0][1][:, None] - middle[1][1][None])
    part = parts[0][:, None]
    level = (part == PARTS.index("title")) | (part == PARTS.index("bottom"))
    apart = np.where(level, dx + 0.2 * dy, np.where(part == PARTS.index("left"), dy + 0.2 * dx, (dx + dy) / 2))
    ticks = part == PARTS.index("ticks")
    apart = np.where(ticks, 4 * np.hypot(dx, dy), apart)
    return (np.exp(-((apart / REACH) ** 2)) * (part == parts[1][None])).astype(np.float32)


def weights(words: Words, parts: NDArray[np.int8]) -> NDArray[np.float32]:
    """What each line weighs in its part: the square root of its length in letters."""
    return np.sqrt(np.maximum(1.0, words.lengths / LETTER)).astype(np.float32)


def _score(
    a: Words, b: Words, parts: tuple[NDArray[np.int8], NDArray[np.int8]], found: NDArray[np.float32],
    known: NDArray[np.float32],
) -> float:  # fmt: skip
    """Sum over the parts that either side has of what each is worth times the F1 of its lines."""
    total, worth = 0.0, 0.0
    w_a, w_b = weights(a, parts[0]), weights(b, parts[1])
    for index, part in enumerate(PARTS):
        t, r = parts[0] == index, parts[1] == index
        if not t.any() and not r.any():
            continue
        share = WORTH[part]
        worth += share
        if t.any() and r.any():
            recall, precision = np.average(found[t], weights=w_a[t]), np.average(known[r], weights=w_b[r])
            total += share * float(2 * recall * precision / max(1e-9, recall + precision))
    return total / worth if worth else 1.0
