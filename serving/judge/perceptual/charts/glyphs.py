"""Whether two lines of text are the same words, by their shapes, whatever the size, weight and typeface.

Guarantees: a line is known by its strip, its ink in the picture's own pixels, brought to HEIGHT rows between its
highest and its lowest stroke, so that no letter is lost where a picture is small or made smaller; two strips are laid
on each other by dynamic time warping over columns (Sakoe and Chiba 1978), so that letters of other widths cost little;
letters are compared by correlation, which knows no weight of strokes (Lewis 1995), and the one that fits worst against
the usual one tells a typing error from another typeface. A line that the border of its picture cuts is compared as far
as it can be seen. Similarity is 1 for equal strips and about 0 for unrelated ones.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.text import TextLines

HEIGHT = 16
NARROW = 0.6  # columns of a strip over the height of its line, as a part of HEIGHT: strokes are finer up and down
LETTER = 5  # columns of a letter
LONGEST = 160  # columns of a strip; longer lines are narrowed
THUMB = (24, HEIGHT)
WORD_GAP = 0.8  # of the height of a line: parts that are nearer are one line
EQUAL = 0.15  # of the height of tick labels, by which they may differ
STROKE = 0.3  # of a line's darkest ink, from which it is a stroke
BAND = 0.12  # of the length, how far columns may be moved
FAR = 1e6  # costs more than any way
STEP = 0.6  # what moving a column costs, in inks of a column
LEVEL = (-2.0, -1.0, 0.0, 1.0, 2.0)  # rows
BLUR = (1.2, 1.0)  # standard deviations along a strip and across it: serifs and the rasters of small letters meet
FLAT = 0.15  # of a line's variance: what a window without strokes is compared by
SAME, OTHER = 0.84, 0.7  # correlation of the same words in unlike typefaces, and of other words
USUAL = 3.0  # times what letters usually fall short of 1, which is another typeface or raster: the worst may
MOST_USUAL = 0.06  # of it; letters that usually fall shorter are of other words
RASTER = 0.015  # by how much the worst letter may fall short besides
TYPO = (0.1, 3.0)  # and more than that where it is another letter, and times what is usual where letters vary
LONGER = (0.5, 0.75)  # the shorter of two strips over the longer: other words, and the same in unlike typefaces
LEAST_SEEN = 0.5  # of a line that the border cuts, to be compared
UNSEEN = 0.1  # what the part costs that is not seen


@dataclass(frozen=True)
class Words:
    """Lines of text: `boxes` [n, 4] on the canvas, `strips` [n, HEIGHT, LONGEST] their ink 0..1 and `lengths` [n] the
    columns in use; `thumbs` [n, d] are unit vectors of the strips at one size; `turned` [n] by 90 degrees;
    `cut` [n] where the picture's border cuts off a line's beginning or end."""

    boxes: NDArray[np.float32]
    strips: NDArray[np.float32]
    lengths: NDArray[np.int32]
    thumbs: NDArray[np.float32]
    turned: NDArray[np.bool_]
    cut: NDArray[np.bool_]


def find_words(text: TextLines, left: float, rgb: NDArray[np.uint8]) -> Words:
    """The lines of `text` of a picture `rgb`; letters that stand above each other left of x = `left` on the canvas are
    one line turned by 90 degrees."""
    boxes, upright = _grouped(text.boxes, left)
    n = len(boxes)
    strips = np.zeros((n, HEIGHT, LONGEST), np.float32)
    lengths = np.ones(n, np.int32)
    thumbs = np.zeros((n, THUMB[0] * THUMB[1]), np.float32)
    high, wide = text.mask.shape
    cut = np.zeros(n, bool)
    near = cv2.dilate(text.mask.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.uint8, copy=False)
    for i, box in enumerate(boxes.tolist()):
        patch = _ink(rgb, box, near)
        cut[i] = box[1 if upright[i] else 0] <= 1 or box[3 if upright[i] else 2] >= (high if upright[i] else wide) - 1
        if upright[i]:
            patch = cv2.rotate(patch, cv2.ROTATE_90_CLOCKWISE)  # type: ignore[assignment]
        strokes = patch > STROKE
        rows, columns = np.flatnonzero(strokes.any(axis=1)), np.flatnonzero(strokes.any(axis=0))
        if len(rows) == 0 or len(columns) == 0:
            continue
        patch = patch[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        length = int(np.clip(round(NARROW * HEIGHT * patch.shape[1] / patch.shape[0]), 2, LONGEST))
        way = cv2.INTER_AREA if patch.shape[0] >= HEIGHT and patch.shape[1] >= length else cv2.INTER_LINEAR
        strips[i, :, :length] = cv2.resize(patch, (length, HEIGHT), interpolation=way)
        lengths[i] = length
        thumb = cv2.GaussianBlur(cv2.resize(strips[i, :, :length], THUMB), (3, 3), 0).ravel()
        thumbs[i] = thumb / max(1e-6, float(np.linalg.norm(thumb)))
    return Words(boxes.astype(np.float32), strips, lengths, thumbs, np.array(upright, bool), cut)


def _ink(rgb: NDArray[np.uint8], box: list[int], near: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The ink 0..1 of a line's letters in the picture's own pixels (of large ones in some). Of what lies a pixel of the
    canvas beside its box only what is `near` [h, w] text counts; within it every stroke does, also an l that the canvas
    takes for a line."""
    fx, fy = rgb.shape[1] / near.shape[1], rgb.shape[0] / near.shape[0]
    x0, y0, x1, y1 = max(0, box[0] - 1), max(0, box[1] - 1), box[2] + 1, box[3] + 1
    patch = rgb[int(y0 * fy) : int(np.ceil(y1 * fy)), int(x0 * fx) : int(np.ceil(x1 * fx))]
    if (less := min(patch.shape[:2]) // (2 * HEIGHT)) > 1:
        patch = cv2.resize(patch, None, fx=1 / less, fy=1 / less, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    ground = np.median(patch.reshape(-1, 3), axis=0).astype(np.uint8)
    b, g, r = cv2.split(cv2.absdiff(patch, np.full_like(patch, ground)))
    ink = cv2.max(cv2.max(b, g), r)
    there = near[y0:y1, x0:x1].copy()
    there[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0] = 1
    ink = ink * cv2.resize(there, ink.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return (ink / np.float32(max(1, int(ink.max())))).astype(np.float32)


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
    letters: list[list[int]] = []  # heights of the parts of each of them
    rest = []
    for line in sorted(lines, key=lambda b: b[1]):
        if line[2] >= left:
            rest.append(line)
            continue
        for column, heights in zip(turned, letters, strict=True):
            wide = max(column[2] - column[0], line[2] - line[0])
            overlap = min(column[2], line[2]) - max(column[0], line[0])
            if overlap > 0.5 * min(column[2] - column[0], line[2] - line[0]) and line[1] - column[3] < 0.6 * wide:
                column[:] = [min(column[0], line[0]), column[1], max(column[2], line[2]), max(column[3], line[3])]
                heights.append(line[3] - line[1])
                break
        else:
            turned.append(list(line))
            letters.append([line[3] - line[1]])
    upright = [
        c
        for c, heights in zip(turned, letters, strict=True)
        if c[3] - c[1] > 1.3 * (c[2] - c[0]) and c[3] - c[1] > 14 and not _are_labels(heights)
    ]
    inside = {id(c) for c in upright}
    rest += [line for line in lines if line[2] < left and not any(_within(line, c) for c in upright)]
    everything = sorted([*rest, *upright], key=lambda b: (b[1], b[0]))
    found = np.array(everything, np.int32).reshape(-1, 4)
    return found, [id(line) in inside for line in everything]


def _are_labels(heights: list[int]) -> bool:
    """Whether parts that stand above each other are tick labels, which are all as high: turned letters are as high as
    upright ones are wide."""
    return len(heights) > 1 and max(heights) - min(heights) <= max(1, EQUAL * max(heights))


def _within(line: list[int], other: list[int]) -> bool:
    return line[0] >= other[0] and line[1] >= other[1] and line[2] <= other[2] and line[3] <= other[3]


def similarity(first: Words, i: NDArray[np.int64], second: Words, j: NDArray[np.int64]) -> NDArray[np.float32]:
    """How much line i[k] of the one is the same words as line j[k] of the other, 0..1: [k]."""
    if len(i) == 0:
        return np.zeros(0, np.float32)
    pairs = [_seen(first, a, second, b) for a, b in zip(i.tolist(), j.tolist(), strict=True)]
    whole, worst, usual = agreement([(one, other) for one, other, _ in pairs]).T
    usual = np.minimum(usual, MOST_USUAL)
    letter = np.clip(1 - (worst - USUAL * usual - RASTER) / (TYPO[0] + TYPO[1] * usual), 0.2, 1)
    same = np.clip((whole - OTHER) / (SAME - OTHER), 0, 1)
    ratio = np.array([min(a.shape[1], b.shape[1]) / max(a.shape[1], b.shape[1]) for a, b, _ in pairs])
    long = np.clip((ratio - LONGER[0]) / (LONGER[1] - LONGER[0]), 0, 1)
    seen = 1 - UNSEEN * (1 - np.array([share for _, _, share in pairs]))
    return (same * letter * long * seen).astype(np.float32)


def _seen(first: Words, i: int, second: Words, j: int) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """The strips of two lines, and of the one that is not cut only the part that the other shows; and that share."""
    a, b = first.strips[i, :, : first.lengths[i]], second.strips[j, :, : second.lengths[j]]
    if first.cut[i] == second.cut[j]:
        return a, b, 1.0
    longer, shorter = (b, a) if first.cut[i] else (a, b)
    share = shorter.shape[1] / longer.shape[1]
    if not LEAST_SEEN < share < 0.97:
        return a, b, 1.0
    best = cv2.matchTemplate(cv2.GaussianBlur(longer, (0, 0), BLUR[0]), cv2.GaussianBlur(shorter, (0, 0), BLUR[0]),
                             cv2.TM_CCOEFF_NORMED)  # fmt: skip
    start = int(best[0].argmax())
    part = longer[:, start : start + shorter.shape[1]]
    return (a, part, share) if first.cut[i] else (part, b, share)


def agreement(pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> NDArray[np.float32]:
    """For strips [HEIGHT, columns] two by two the correlation of the one with the other as warped to it, and by how
    much that of their worst letter and of the usual one falls short of 1: [k, 3]. One other letter shows in the second
    against the third, another typeface in all."""
    lengths = np.array([one.shape[1] for one, _ in pairs], np.int32)
    width = int(lengths.max())
    a, b = (np.zeros((len(pairs), HEIGHT + 4, width), np.float32) for _ in range(2))
    for k, (one, other) in enumerate(pairs):
        for into, strip in ((a, one), (b, _levelled(cv2.resize(other, (one.shape[1], HEIGHT)), one))):
            soft = cv2.GaussianBlur(np.pad(strip, ((2, 2), (0, 0))), (0, 0), BLUR[0], sigmaY=BLUR[1])
            into[k, :, : one.shape[1]] = soft / max(1e-6, float(soft.mean()))
    reaches = np.maximum(2, np.ceil(BAND * lengths))[:, None]
    reach = int(reaches.max())
    cost = np.full((len(pairs), width, 2 * reach + 1), FAR, np.float32)
    row, column = np.arange(len(pairs))[:, None], np.arange(width)[None]
    for d in range(-reach, reach + 1):
        lo, hi = max(0, -d), min(width, width - d)
        apart = np.abs(a[:, :, lo:hi] - b[:, :, lo + d : hi + d]).sum(axis=1)
        within = (abs(d) <= reaches) & (column[:, lo:hi] + d < lengths[:, None])
        cost[:, lo:hi, d + reach] = np.where(within, apart, FAR)
    met = np.clip(column + _warped(cost, lengths) - reach, 0, width - 1)
    warped = b[row, :, met].transpose(0, 2, 1)
    used = column < lengths[:, None]
    count = np.maximum(_windows(used * np.float32(HEIGHT + 4)), 1)
    moments = [
        _windows(np.where(used, x.sum(axis=1), 0)) / count for x in (a, warped, a * a, warped * warped, a * warped)
    ]
    mean_a, mean_b, aa, bb, ab = moments
    var_a, var_b, both = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    flat = FLAT * np.array([float(a[k, :, :n].var()) for k, n in enumerate(lengths)], np.float32)[:, None]
    alike = (both + flat) / np.sqrt((np.maximum(var_a, 0) + flat) * (np.maximum(var_b, 0) + flat))
    found = np.zeros((len(pairs), 3), np.float32)
    for k, n in enumerate(lengths):
        spread = float(np.sqrt(max(1e-9, float(var_a[k, :n].mean()) * float(var_b[k, :n].mean()))))
        found[k] = float(both[k, :n].mean()) / spread, 1 - alike[k, :n].min(), 1 - np.median(alike[k, :n])
    return found


def _levelled(strip: NDArray[Any], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """A strip stretched up and down so that its rows have as much ink as those of another one: of small letters the
    highest and lowest strokes are known to a row or two."""
    rows = _ROWS @ strip.sum(axis=1)
    wanted = like.sum(axis=1)
    alike = rows @ wanted / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(wanted), 1e-6)
    return (_ROWS[int((alike - _MOVED).argmax())] @ strip).astype(np.float32)


def _stretches() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matrices [n, HEIGHT, HEIGHT] that move the first and the last row of a strip by up to LEVEL, and what is held
    against each [n]."""
    row = np.arange(HEIGHT)
    found, moved = [], []
    for top in LEVEL:
        for bottom in LEVEL:
            at = np.linspace(top, HEIGHT - 1 + bottom, HEIGHT)
            found.append(np.maximum(0, 1 - np.abs(at[:, None] - row[None])))
            moved.append(0.002 * (abs(top) + abs(bottom)))
    return np.array(found, np.float32), np.array(moved, np.float32)


_ROWS, _MOVED = _stretches()


def _windows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums over LETTER columns around each: [n, columns]."""
    return cv2.boxFilter(values, -1, (LETTER, 1), normalize=False, borderType=cv2.BORDER_CONSTANT)  # type: ignore[return-value]


def _warped(cost: NDArray[np.float32], lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """The shift of each column [n, columns] on the cheapest way through `cost` [n, columns, shifts], from the first
    column to the last one in use; the shift changes by one a column at most, and pays STEP for it."""
    n, width, shifts = cost.shape
    middle = shifts // 2
    moves = STEP * (HEIGHT + 4)  # the ink of a column is 1 a row
    state = cost[:, 0].copy()
    state[:, np.abs(np.arange(shifts) - middle) > 1] = FAR
    came = np.zeros((n, width, shifts), np.int8)
    ends = np.zeros((n, shifts), np.float32)
    for column in range(width):
        if column:
            ways = np.full((3, n, shifts), FAR, np.float32)
            ways[0] = state
            ways[1, :, 1:] = state[:, :-1] + moves
            ways[2, :, :-1] = state[:, 1:] + moves
            came[:, column] = ways.argmin(axis=0)
            state = ways.min(axis=0) + cost[:, column]
        done = lengths == column + 1
        ends[done] = state[done]
    ends[:, np.abs(np.arange(shifts) - middle) > 1] = 2 * FAR
    at = ends.argmin(axis=1)
    way = np.zeros((n, width), np.int64)
    back = np.array([0, -1, 1])
    for column in range(width - 1, -1, -1):
        way[:, column] = at
        within = column < lengths
        at = np.where(within, at + back[came[np.arange(n), column, at]], at)
    return way
