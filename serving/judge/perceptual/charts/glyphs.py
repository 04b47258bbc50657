"""Whether two lines of text are the same words, by their shapes, whatever the size, weight and typeface.

Guarantees: a line is known by its strip, its ink scaled to HEIGHT rows between the highest and the lowest stroke; two
strips are laid on each other by dynamic time warping over columns (Sakoe and Chiba 1978), so that letters of other
widths cost little and other letters cost much; similarity is 1 for equal strips and about 0 for unrelated ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.text import TextLines

HEIGHT = 14
LONGEST = 100  # columns of a strip; longer lines are narrowed
THUMB = (24, HEIGHT)
WORD_GAP = 0.8  # of the height of a line: parts that are nearer are one line
BAND = 0.12  # of the length, how far columns may be moved
LETTER = 8  # columns of the part of a line that is looked at by itself
STEP = 1.0  # what moving a column costs
SAME, OTHER = 0.77, 0.5  # agreement of the same words in unlike typefaces, and of other words
TYPEFACE = 0.1  # what the worst part of a line may agree less than the whole in another typeface
LETTERS = 0.2  # what it agrees less than that where letters are others


@dataclass(frozen=True)
class Words:
    """Lines of text: `boxes` [n, 4] on the canvas, `strips` [n, HEIGHT, LONGEST] their ink 0..1 and `lengths` [n] the
    columns in use; `thumbs` [n, d] are unit vectors of the strips at one size."""

    boxes: NDArray[np.float32]
    strips: NDArray[np.float32]
    lengths: NDArray[np.int32]
    thumbs: NDArray[np.float32]


def find_words(text: TextLines, left: float) -> Words:
    """The lines of `text`; letters that stand above each other left of x = `left` are one line turned by 90 degrees."""
    boxes, upright = _grouped(text.boxes, left)
    n = len(boxes)
    strips = np.zeros((n, HEIGHT, LONGEST), np.float32)
    lengths = np.ones(n, np.int32)
    thumbs = np.zeros((n, THUMB[0] * THUMB[1]), np.float32)
    for i, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        patch = text.pixels[y0:y1, x0:x1]
        if upright[i]:
            patch = cv2.rotate(patch, cv2.ROTATE_90_CLOCKWISE)  # type: ignore[assignment]
        rows, columns = np.flatnonzero(patch.max(axis=1) > 50), np.flatnonzero(patch.max(axis=0) > 50)
        if len(rows) == 0 or len(columns) == 0:
            continue
        patch = patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        length = int(np.clip(round(patch.shape[1] * HEIGHT / patch.shape[0]), 2, LONGEST))
        shrinks = length <= patch.shape[1] and patch.shape[0] >= HEIGHT
        strip = cv2.resize(patch, (length, HEIGHT), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        strips[i, :, :length] = strip / np.float32(max(1, int(strip.max())))
        lengths[i] = length
        thumb = cv2.GaussianBlur(cv2.resize(strips[i, :, :length], THUMB), (3, 3), 0).ravel()
        thumbs[i] = thumb / max(1e-6, float(np.linalg.norm(thumb)))
    return Words(boxes.astype(np.float32), strips, lengths, thumbs)


def _grouped(boxes: NDArray[np.int32], left: float) -> tuple[NDArray[np.int32], list[bool]]:
    """Parts of a line joined, and for each line whether it is turned."""
    groups = [[box] for box in boxes[np.argsort(boxes[:, 0], kind="stable")].tolist()] if len(boxes) else []
    lines: list[list[int]] = []
    for (box,) in groups:
        for line in reversed(lines):
            high = min(line[3] - line[1], box[3] - box[1])
            tall = max(line[3] - line[1], box[3] - box[1])
            overlap = min(line[3], box[3]) - max(line[1], box[1])
            if overlap > 0.6 * high and -2 <= box[0] - line[2] < WORD_GAP * tall and tall < 2.5 * high:
                line[:] = [line[0], min(line[1], box[1]), max(line[2], box[2]), max(line[3], box[3])]
                break
        else:
            lines.append(list(box))
    turned: list[list[int]] = []
    rest = []
    for line in sorted(lines, key=lambda b: b[1]):
        if line[2] >= left:
            rest.append(line)
            continue
        for column in turned:
            wide = max(column[2] - column[0], line[2] - line[0])
            overlap = min(column[2], line[2]) - max(column[0], line[0])
            if overlap > 0.5 * min(column[2] - column[0], line[2] - line[0]) and line[1] - column[3] < 0.6 * wide:
                column[:] = [min(column[0], line[0]), column[1], max(column[2], line[2]), max(column[3], line[3])]
                break
        else:
            turned.append(list(line))
    upright = [c for c in turned if c[3] - c[1] > 1.3 * (c[2] - c[0]) and c[3] - c[1] > 14]
    inside = {id(c) for c in upright}
    rest += [line for line in lines if line[2] < left and not any(_within(line, c) for c in upright)]
    everything = sorted([*rest, *upright], key=lambda b: (b[1], b[0]))
    found = np.array(everything, np.int32).reshape(-1, 4)
    return found, [id(line) in inside for line in everything]


def _within(line: list[int], other: list[int]) -> bool:
    return line[0] >= other[0] and line[1] >= other[1] and line[2] <= other[2] and line[3] <= other[3]


def similarity(first: Words, i: NDArray[np.int64], second: Words, j: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much line i[k] of the one is the same words as line j[k] of the other, 0..1: [k]."""
    if len(i) == 0:
        return np.zeros(0, np.float32)
    whole, worst = agreement(first, i, second, j).T
    letter = np.clip(1 - (whole - worst - TYPEFACE) / LETTERS, 0.3, 1)
    return (np.clip((whole - OTHER) / (SAME - OTHER), 0, 1) * letter).astype(np.float32)


def agreement(first: Words, i: NDArray[np.int64], second: Words, j: NDArray[np.int64]) -> NDArray[np.float32]:
    """1 - the warped difference of two strips over the sum of their inks, of the whole line and of its worst part,
    about a letter wide: [k, 2]. One other letter shows in the part, another typeface in the whole."""
    lengths = first.lengths[i]
    width = int(lengths.max())
    a = _smooth(first.strips[i, :, :width])
    b = np.zeros_like(a)
    for k, (one, other) in enumerate(zip(i, j, strict=True)):
        strip = second.strips[other, :, : second.lengths[other]]
        b[k, :, : first.lengths[one]] = cv2.resize(strip, (int(first.lengths[one]), HEIGHT))
    b = _smooth(b)
    reach = max(1, int(np.ceil(BAND * width)))
    cost = np.full((len(i), width, 2 * reach + 1), 1e3, np.float32)
    for d in range(-reach, reach + 1):
        lo, hi = max(0, -d), min(width, width - d)
        cost[:, lo:hi, d + reach] = np.abs(a[:, :, lo:hi] - b[:, :, lo + d : hi + d]).sum(axis=1)
    shifts = _warped(cost, lengths)
    row, column = np.arange(len(i))[:, None], np.arange(width)[None]
    used = column < lengths[:, None]
    apart = np.where(used, cost[row, column, shifts], 0)
    met = np.clip(column + shifts - reach, 0, width - 1)
    ink = np.where(used, a.sum(axis=1) + b.sum(axis=1)[row, met], 0)
    whole = 1 - apart.sum(axis=1) / np.maximum(ink.sum(axis=1), 1e-6)
    part = min(LETTER, width)
    apart_in, ink_in = _windows(apart, part), _windows(ink, part)
    worst = (1 - apart_in / np.maximum(ink_in, 0.5 * ink.sum(axis=1, keepdims=True) / lengths[:, None] * part)).min(
        axis=1
    )
    return np.stack([whole, worst], axis=1).astype(np.float32)


def _windows(values: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    sums = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    return sums[:, width:] - sums[:, :-width]


def _smooth(strips: NDArray[np.float32]) -> NDArray[np.float32]:
    """A little blur down the rows, so that strokes of other weights and serifs meet."""
    padded = np.pad(strips, ((0, 0), (1, 1), (0, 0)))
    return 0.25 * padded[:, :-2] + 0.5 * strips + 0.25 * padded[:, 2:]


def _warped(cost: NDArray[np.float32], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """The shift of each column [n, columns] on the cheapest way through `cost` [n, columns, shifts], from the first
    column to the last one in use; the shift changes by one a column at most, and pays STEP for it."""
    n, width, shifts = cost.shape
    middle = shifts // 2
    state = cost[:, 0].copy()
    state[:, np.abs(np.arange(shifts) - middle) > 1] = 1e3
    came = np.zeros((n, width, shifts), np.int8)
    ends = np.zeros((n, shifts), np.float32)
    for column in range(width):
        if column:
            ways = np.full((3, n, shifts), 1e3, np.float32)
            ways[0] = state
            ways[1, :, 1:] = state[:, :-1] + STEP
            ways[2, :, :-1] = state[:, 1:] + STEP
            came[:, column] = ways.argmin(axis=0)
            state = ways.min(axis=0) + cost[:, column]
        done = lengths == column + 1
        ends[done] = state[done]
    ends[:, np.abs(np.arange(shifts) - middle) > 1] = 2e3
    at = ends.argmin(axis=1)
    way = np.zeros((n, width), np.int64)
    back = np.array([0, -1, 1])
    for column in range(width - 1, -1, -1):
        way[:, column] = at
        within = column < lengths
        at = np.where(within, at + back[came[np.arange(n), column, at]], at)
    return way
