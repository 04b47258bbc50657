"""Which value of an axis stands at which pixel, read off its tick labels.

Guarantees: a scale is linear and rests on two labels at least, most of those that were read; an axis whose labels are
words, dates, powers or too small to read has none.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.charts.digits import Reading, read

MOST_LABELS = 24  # of an axis that are read
EXACT = 1.6  # pixels of the picture, or this share of the labels' span, that a label may be off
SHARE = 0.012
LINE = 1.5  # half of an axis' line, pixels of the canvas
DOUBT = 4.0  # what a reading that falls behind by 1 loses of a label's vote
USUAL = 0.5  # of a vote: values grow to the right and upwards
STEPS = np.array([1, 2, 2.5, 5])  # times a power of ten, as renderers choose them
VOTES = 0.6  # of the labels that are read, which must agree
LEGIBLE, SMALL_VOTES = 7, 0.85  # rows of a digit; of labels that are smaller, nearly all must, and three at least

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Scale:
    """Value = `slope` * pixel + `origin`, in pixels of the canvas."""

    slope: float
    origin: float


def find_scales(
    rgb: NDArray[np.uint8], paper: NDArray[np.uint8], boxes: NDArray[np.int32], canvas: tuple[int, int], frame: Box
) -> tuple[Scale | None, Scale | None]:
    """Scales of the x and the y axis of a picture whose text lies in `boxes` [n, 4] of its canvas (width, height),
    around the plotting area `frame`. The labels are read at the size of the picture itself."""
    middle = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    left = (middle[0] < frame[0]) & (middle[1] < frame[3] + 8)
    below = (middle[1] > frame[3]) & (middle[0] > frame[0] - 12) & (middle[0] < frame[2] + 12) & ~left
    if below.any():  # the row next to the axis
        below &= boxes[:, 3] <= boxes[below, 3].min() + (boxes[below, 3] - boxes[below, 1]).max() / 2 + 1
    found = []
    for axis, chosen in ((0, below), (1, left)):
        readings: list[Reading] = []
        for box in boxes[chosen][:MOST_LABELS]:
            readings += _read(rgb, paper, box, canvas, frame)
        found.append(_fit(readings, axis, rgb.shape[1 - axis] / canvas[axis]))
    return found[0], found[1]


def _read(
    rgb: NDArray[np.uint8], paper: NDArray[np.uint8], box: NDArray[np.int32], canvas: tuple[int, int], frame: Box
) -> list[Reading]:
    """The labels in a box of the canvas, without the axis that their ticks may touch."""
    fx, fy = rgb.shape[1] / canvas[0], rgb.shape[0] / canvas[1]
    right = box[2] + 1 if box[0] > frame[0] or box[1] > frame[3] else min(box[2] + 1, frame[0] - LINE)
    top = max(box[1] - 1, frame[3] + LINE) if box[1] + box[3] > 2 * frame[3] else box[1] - 1
    x0, y0 = max(0, int((box[0] - 1) * fx)), max(0, int(top * fy))
    patch = rgb[y0 : int((box[3] + 1) * fy) + 1, x0 : int(right * fx) + 1].astype(np.int16)
    return read(np.abs(patch - paper).max(axis=2).astype(np.float32) / 255, x0, y0) if patch.size else []


def _fit(readings: list[Reading], axis: int, factor: float) -> Scale | None:
    """The line that most labels agree with, each once, by any of its readings."""
    if len(readings) < 2:
        return None
    at = np.array([(r.box[axis] + r.box[axis + 2]) / 2 for r in readings])
    marks = np.array([(n, v, d) for n, r in enumerate(readings) for v, d in zip(r.values, r.doubts, strict=True)])
    owner, values, doubts = marks[:, 0].astype(int), marks[:, 1], marks[:, 2]
    i, j = np.triu_indices(len(marks), 1)
    apart = at[owner[j]] - at[owner[i]]
    good = (np.abs(apart) > 4) & (values[i] != values[j])
    i, j, apart = i[good], j[good], apart[good]
    if len(i) == 0:
        return None
    slope = (values[j] - values[i]) / apart
    origin = values[i] - slope * at[owner[i]]
    off = np.abs((values - origin[:, None]) / slope[:, None] - at[owner])  # pixels: [hypotheses, readings]
    vote = np.where(off < max(EXACT, SHARE * np.ptp(at)), 1 - DOUBT * doubts, -1.0)
    best = np.full((len(i), len(readings)), -1.0)
    for n in range(len(marks)):
        best[:, owner[n]] = np.maximum(best[:, owner[n]], vote[:, n])
    count = (best > -1).sum(axis=1)
    usual = slope > 0 if axis == 0 else slope < 0
    k = int((np.where(best > -1, best, 0).sum(axis=1) + USUAL * usual).argmax())
    small = float(np.median([r.box[3] - r.box[1] for r in readings])) < LEGIBLE
    if count[k] < (max(3, SMALL_VOTES * len(readings)) if small else max(2, VOTES * len(readings))):
        return None
    agree = vote[k] > -1
    if count[k] == 2 and not _is_even(np.unique(values[agree])):
        return None
    slope_k, origin_k = np.polyfit(at[owner[agree]], values[agree], 1)
    return Scale(float(slope_k) * factor, float(origin_k))


def _is_even(values: NDArray[np.float64]) -> bool:
    """Whether two labels are multiples of their step, and that one as steps are: nothing else bears them out."""
    step = float(np.ptp(values))
    if step == 0:
        return False
    head = step / 10 ** np.floor(np.log10(step) + 1e-9)
    times = values / step
    return bool(np.abs(head - STEPS).min() < 0.01 and np.abs(times - np.round(times)).max() < 0.01)
