"""Numbers read off tick labels, by the shapes of their digits alone.

Guarantees: a label is read or it is not, nothing is guessed: every glyph must agree with a digit of one of FONTS; of
glyphs that look like two digits both readings are kept, for the other labels of an axis to choose from. No model, no
training: the digits are drawn once from font files that come with Matplotlib and Pillow.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    "DejaVuSans.ttf",
    "DejaVuSans-Bold.ttf",
    "DejaVuSerif.ttf",
    "DejaVuSansMono.ttf",
    "STIXGeneral.ttf",
    "cmr10.ttf",
    "",
)
SIZES = (8, 9, 11, 14, 20, 40)  # of their letters, pixels: strokes of small ones are blends
GRID = (8, 12)  # columns and rows of a digit
ALIKE = 0.7  # correlation from which a glyph may be a digit
SECOND = 0.06  # of it, by which the second best reading may fall behind
INK = 0.28  # of a label's darkest ink, from which it is a stroke
NARROW = 0.35  # what other proportions cost, for each factor e
WIDE = 0.62  # of its height, a digit as a rule
LEAST = 5  # rows of a label that can be read
APART = 0.55  # of its height, between two labels
FLAT = 0.4  # of its height, at most of a point or a minus
MOST_READINGS = 6
MOST_GLYPHS = 8
NUMBER = re.compile(
    r"-?(?:[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+)(?:\.[0-9]+)?"
)  # nothing before a point is a digit that is cut off

Grey = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Reading:
    """What a label may say, the likeliest first, each with how far it falls behind; and where (x0, y0, x1, y1)."""

    values: tuple[float, ...]
    doubts: tuple[float, ...]
    box: tuple[float, float, float, float]


@lru_cache(maxsize=1)
def _digits() -> tuple[Grey, Grey, NDArray[np.int64]]:
    """Unit vectors [n, GRID] of digits in all fonts, their widths over their heights [n], and which they are [n]."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    shapes, ratios, which = [], [], []
    for name, size in product(FONTS, SIZES):
        font = ImageFont.truetype(str(folder / name), size) if name else ImageFont.load_default(size)
        for digit in range(10):
            image = Image.new("L", (2 * size, 2 * size))
            ImageDraw.Draw(image).text((size // 2, size // 4), str(digit), 255, font)
            whole: Grey = np.asarray(image, np.float32) / np.float32(255)
            rows, columns = (np.flatnonzero((whole > INK * whole.max()).any(axis=k)) for k in (1, 0))
            ink = whole[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            shapes.append(_vector(ink, GRID))
            ratios.append(ink.shape[1] / ink.shape[0])
            which.append(digit)
    return np.stack(shapes), np.array(ratios, np.float32), np.array(which)


def _vector(ink: Grey, grid: tuple[int, int]) -> Grey:
    """A glyph on a grid, without its mean, of length 1."""
    small = cv2.resize(ink, grid, interpolation=cv2.INTER_AREA if ink.shape[0] > grid[1] else cv2.INTER_LINEAR).ravel()
    small = small - small.mean()
    return (small / max(1e-6, float(np.linalg.norm(small)))).astype(np.float32)


def read(ink: Grey, left: float, top: float) -> list[Reading]:
    """The labels that stand in one line of text, apart by more than a letter: `ink` [h, w] is 0..1, its corner at
    (`left`, `top`). A tick above a label or right of it is no part of it."""
    strokes = ink > INK * max(1e-6, float(ink.max()))
    lines = _runs(strokes, 1)
    first, last = max(lines, key=lambda line: line[1] - line[0], default=(0, 0))
    high = last - first
    if high < LEAST:
        return []
    ink, strokes = ink[first:last], strokes[first:last]
    labels: list[list[tuple[int, int]]] = []
    for run in _runs(strokes, 0):
        if labels and run[0] - labels[-1][-1][1] <= APART * high:
            labels[-1].append(run)
        else:
            labels.append([run])
    found = []
    for label in labels:
        glyphs = [glyph for run in label for glyph in _split(ink, run)]
        if len(glyphs) > 1 and _is_dash(strokes[:, slice(*glyphs[-1])]):
            del glyphs[-1]
        if left + glyphs[0][0] == 1:  # a digit may be cut off, nothing of it left
            continue
        if read := _label(ink, strokes, glyphs, left == 0):
            values, doubts = zip(*read, strict=True)
            found.append(Reading(values, doubts, (left + glyphs[0][0], top + first, left + glyphs[-1][1], top + last)))
    return found


def _runs(strokes: Mask, axis: int) -> list[tuple[int, int]]:
    """Stretches of columns (`axis` 0) or rows (1) with ink."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], strokes.any(axis=axis), [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _label(ink: Grey, strokes: Mask, runs: list[tuple[int, int]], is_cut: bool) -> list[tuple[float, float]]:
    """What a label of such glyphs may say, and how far each falls behind; nothing where a glyph is none of a number."""
    high = len(ink)
    glyphs: list[list[tuple[str, float]]] = []
    for start, end in runs:
        y0, y1 = _span(strokes[:, start:end])
        if _is_dash(strokes[:, start:end]):
            glyphs.append([("-", 0.0)])
        elif y1 - y0 <= FLAT * high and y0 > 0.6 * high:
            glyphs.append([(".", 0.0), (",", 0.02)])
        elif y1 - y0 > 0.8 * high:
            glyph = ink[y0:y1, start:end]
            glyphs.append(_digit(glyph) or (_digit(glyph, is_cut=True) if is_cut and start == 0 else []))
        else:
            return []
    known: dict[float, float] = {}
    if 0 < len(glyphs) <= MOST_GLYPHS:
        for choice in product(*glyphs):
            text, doubt = "".join(g for g, _ in choice), sum(d for _, d in choice)
            if NUMBER.fullmatch(text):
                value = float(text.replace(",", ""))
                known[value] = min(doubt, known.get(value, 9.0))
    return sorted(known.items(), key=lambda one: one[1])[:MOST_READINGS]


def _span(strokes: Mask) -> tuple[int, int]:
    rows = np.flatnonzero(strokes.any(axis=1))
    return int(rows[0]), int(rows[-1]) + 1


def _is_dash(strokes: Mask) -> bool:
    """Whether a glyph [h, w] is a minus sign, or a tick."""
    y0, y1 = _span(strokes)
    high, wide = strokes.shape
    return y1 - y0 <= min(FLAT * high, wide) and 0.25 * high < (y0 + y1) / 2 < 0.8 * high


def _split(ink: Grey, run: tuple[int, int]) -> list[tuple[int, int]]:
    """Glyphs that run together, cut where least ink is near equal parts."""
    start, end = run
    high = len(ink)
    parts = round((end - start) / (0.66 * high)) if end - start > 0.95 * high else 1
    cuts = [start]
    columns = ink.sum(axis=0)
    for k in range(1, parts):
        near = start + round(k * (end - start) / parts)
        reach = max(1, round(0.15 * high))
        low = max(cuts[-1] + 1, near - reach)
        cuts.append(low + int(columns[low : near + reach + 1].argmin()))
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _digit(ink: Grey, is_cut: bool = False) -> list[tuple[str, float]]:
    """Digits that a glyph may be, each with how far it falls behind the best. Of one that the picture's left border
    cuts only the part that is there is compared."""
    shapes, ratios, which = _digits()
    ratio = ink.shape[1] / ink.shape[0]
    if is_cut:
        missing = min(GRID[0] // 2, max(0, round(GRID[0] * (1 - ratio / WIDE))))
        shapes = shapes.reshape(-1, GRID[1], GRID[0])[:, :, missing:].reshape(len(shapes), -1)
        shapes = shapes - shapes.mean(axis=1, keepdims=True)
        shapes /= np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-6)
        agree = shapes @ _vector(ink, (GRID[0] - missing, GRID[1]))
    else:
        agree = shapes @ _vector(ink, GRID) - NARROW * np.abs(np.log(ratio / ratios))
    best = np.full(10, -1.0, np.float32)
    np.maximum.at(best, which, agree)
    top = float(best.max())
    if top < ALIKE:
        return []
    return [(str(d), top - float(best[d])) for d in np.argsort(-best) if best[d] > top - SECOND][:2]
