"""Laying one chart on another: which plotting area of a render is which of the target, and the maps between them.

Guarantees: maps stretch and shift each axis on its own and never turn; where neither side has plotting areas, or they
do not fit, all ink or all marks are laid on each other, whichever agrees best from afar; a picture is resampled once.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.charts.panels import Boxes
from serving.judge.perceptual.charts.scales import Scale

COARSE = 4  # candidates are compared at this fraction of the canvas
TRUST = 0.2  # what plotting areas may agree less from afar than another map and still be taken
FIT = 0.12  # what marks must agree better from afar to be taken as of another range of an axis
PIXEL = 1.0  # of a canvas: plotting areas are as large as each other to that
NEAR = 4.0  # pixels within which outlines pull on each other
RIDGE = 0.01  # holds what no outline tells
NOISE = 0.012  # of a plotting area: marks that near have not been moved
SEVERAL = 0.5  # the same for several plotting areas, which go by maps of their own
MOST_STRETCH = 4.0  # between the scales of the two axes, and against the sizes of the pictures

Rgb = NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Map:
    """x' = x * scale[0] + offset[0] and so on, from pixels of the one canvas to pixels of the other."""

    scale: tuple[float, float]
    offset: tuple[float, float]

    @staticmethod
    def between(source: Box, goal: Box) -> "Map":
        """The map that lays one box on another."""
        sx = (goal[2] - goal[0]) / max(1e-6, source[2] - source[0])
        sy = (goal[3] - goal[1]) / max(1e-6, source[3] - source[1])
        return Map((sx, sy), (goal[0] - sx * source[0], goal[1] - sy * source[1]))

    def matrix(self, before: float = 1.0, after: float = 1.0) -> NDArray[np.float32]:
        """The affine matrix [2, 3] between canvases that are scaled by `before` and `after`."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        return np.array([[sx * after / before, 0, ox * after], [0, sy * after / before, oy * after]], np.float32)

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes [n, 4] on the other canvas."""
        scale, offset = np.array(self.scale * 2, np.float32), np.array(self.offset * 2, np.float32)
        return (boxes * scale + offset).astype(np.float32)


@dataclass(frozen=True)
class Registration:
    """`whole` maps the render's canvas; `panels` are pairs of a render's and a target's box that go by maps of their
    own; `matched` is the share of the larger number of panels that has a partner; `fitted` tells how far marks had to
    be moved or stretched within their plotting area, as a share of it."""

    whole: Map
    panels: tuple[tuple[Box, Box], ...]
    matched: float
    fitted: float
    cut: Box | None = None  # of the target's canvas: what lies outside is left out

    def framed(self) -> "Registration":
        """With the one panel laid on its partner and its marks where they then are."""
        return Registration(Map.between(*self.panels[0]), self.panels, self.matched, 0.0)

    def ranged(self, axis: int, stretch: float, shift: float, inner: Box | None = None) -> "Registration":
        """With the marks of the one panel stretched and shifted along `axis` (0 is x), its borders cut off. Without a
        panel they lie in the box `inner` of the render's canvas."""
        scale, offset = list(self.whole.scale), list(self.whole.offset)
        scale[axis] *= stretch
        offset[axis] = offset[axis] * stretch + shift
        whole = Map((scale[0], scale[1]), (offset[0], offset[1]))
        box = self.panels[0][0] if self.panels else inner
        if box is None:
            return Registration(whole, self.panels, self.matched, self.fitted)
        cut = whole.boxes(np.array([box], np.float32))[0] + np.array([3, 3, -3, -3], np.float32) * len(self.panels)
        return Registration(whole, self.panels, self.matched, self.fitted, tuple(map(float, cut)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Side:
    """What registration sees of a picture: the size of its canvas, panels, the ink that is no text, the box of its
    marks (None: no marks), the places [n, 2] (x, y) of their outlines."""

    canvas: tuple[int, int]  # width, height
    panels: Boxes
    ink: NDArray[np.float32]
    marks: Box | None
    outlines: NDArray[np.float32]
    scales: tuple[Scale | None, Scale | None]  # of its x and y axis, as far as they can be read


def register(target: Side, render: Side, distance: NDArray[np.float32]) -> Registration:
    """How the render is laid on the target, whose pixels are `distance` [h, w] away from an outline."""
    pairs = [(_snapped(source, goal), goal) for source, goal in _pairs(target, render)]
    candidates: list[tuple[float, Map]] = []
    if len(pairs):
        frames = Map.between(_union([p for p, _ in pairs]), _union([p for _, p in pairs]))
        candidates.append((TRUST if len(pairs) == 1 else SEVERAL, frames))
        if len(pairs) == 1 and target.marks is not None and render.marks is not None:
            marks = Map.between(render.marks, target.marks)
            mixed = [(frames, marks), (marks, frames), (marks, marks)]  # another range of one axis, or of both
            fits = [Map((x.scale[0], y.scale[1]), (x.offset[0], y.offset[1])) for x, y in mixed]
            candidates += [(TRUST - FIT, m) for m in fits if _is_near(m, frames)]
    full_t, full_r = (0.0, 0.0, *map(float, target.canvas)), (0.0, 0.0, *map(float, render.canvas))
    boxes = [(full_r, full_t), (_extent(render.ink), _extent(target.ink)), (render.marks, target.marks)]
    candidates += [(0.0, Map.between(a, b)) for a, b in boxes if a is not None and b is not None]  # type: ignore[arg-type]
    stretch = target.canvas[0] / render.canvas[0], target.canvas[1] / render.canvas[1]
    sane = [c for c in candidates if _is_sane(c[1], stretch)] or candidates[:1]
    small, other = _coarse(target.ink), _coarse(render.ink)
    best = int(np.argmax([bonus + _agreement(small, other, m) for bonus, m in sane]))
    bonus, chosen = sane[best]
    most = max(len(target.panels), len(render.panels))
    if bonus == 0.0 or len(pairs) == 0:
        bare = len(target.panels) > 0 and len(render.panels) == 0 and not any(render.scales)
        return Registration(_refined(chosen, render.outlines, distance), (), 0.0 if bare else 1.0, 0.0)
    if len(pairs) > 1:
        fine = tuple((_fine(source, goal, render.outlines, distance), goal) for source, goal in pairs)
        return Registration(chosen, fine, len(pairs) / most, 0.0)
    chosen = _refined(chosen, render.outlines, distance)
    (source, goal) = pairs[0]
    corners = np.abs(chosen.boxes(np.array([source], np.float32))[0] - np.array(goal))
    fitted = float((corners / np.array([goal[2] - goal[0], goal[3] - goal[1]] * 2)).mean())
    return Registration(chosen, tuple(pairs), len(pairs) / most, max(0.0, fitted - NOISE))


def measured(found: Registration, target: Side, render: Side, axis: int) -> tuple[float, float]:
    """Stretch and shift along `axis`, after `found`, by which equal values of both sides lie on each other, as their
    tick labels tell; 1, 0 where an axis cannot be read."""
    a, b = target.scales[axis], render.scales[axis]
    if a is None or b is None:
        return 1.0, 0.0
    stretch, shift = b.slope / a.slope, (b.origin - a.origin) / a.slope
    return stretch / found.whole.scale[axis], shift - stretch * found.whole.offset[axis] / found.whole.scale[axis]


def _snapped(source: Box, goal: Box) -> Box:
    """The render's box with the goal's sides where they are equal to PIXEL, as borders are found no better."""
    out = list(source)
    for low, high in ((0, 2), (1, 3)):
        side, wanted = source[high] - source[low], goal[high] - goal[low]
        if abs(side - wanted) < PIXEL:
            out[low], out[high] = source[low] + (side - wanted) / 2, source[high] - (side - wanted) / 2
    return out[0], out[1], out[2], out[3]


def _fine(source: Box, goal: Box, outlines: NDArray[np.float32], distance: NDArray[np.float32]) -> Box:
    """The box of the render that lies on `goal` once the outlines inside `source` lie on the target's."""
    x, y = outlines[:, 0], outlines[:, 1]
    inside = (x >= source[0]) & (x <= source[2]) & (y >= source[1]) & (y <= source[3])
    (sx, sy), (ox, oy) = (m := _refined(Map.between(source, goal), outlines[inside], distance)).scale, m.offset
    return (goal[0] - ox) / sx, (goal[1] - oy) / sy, (goal[2] - ox) / sx, (goal[3] - oy) / sy


def _coarse(ink: NDArray[np.float32]) -> NDArray[np.float32]:
    return cv2.resize(ink, None, fx=1 / COARSE, fy=1 / COARSE, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _is_near(m: Map, frames: Map) -> bool:
    """Marks are not stretched more than twice against their plotting area."""
    x, y = m.scale[0] / frames.scale[0], m.scale[1] / frames.scale[1]
    return 0.5 < x < 2 and 0.5 < y < 2


def _refined(m: Map, outlines: NDArray[np.float32], distance: NDArray[np.float32]) -> Map:
    """The map after a few steps of Gauss and Newton on the distances of the render's outlines from the target's, of
    those that are near already: frames are found to a pixel, outlines of equal charts meet to a fraction of one."""
    if len(outlines) < 12:
        return m
    points = outlines[:: max(1, len(outlines) // 1500)]
    h, w = distance.shape
    scale, offset = np.array(m.scale), np.array(m.offset)
    for _ in range(4):
        at = points * scale + offset
        x, y = np.round(at).astype(int).T
        there = (x > 0) & (x < w - 1) & (y > 0) & (y < h - 1)
        x, y, px, py = x[there], y[there], points[there, 0], points[there, 1]
        d = distance[y, x]
        near = d < NEAR
        if near.sum() < 12:
            break
        x, y, px, py, d = x[near], y[near], px[near], py[near], d[near]
        gx, gy = (distance[y, x + 1] - distance[y, x - 1]) / 2, (distance[y + 1, x] - distance[y - 1, x]) / 2
        spread_x, spread_y = float(np.ptp(px)) or 1.0, float(np.ptp(py)) or 1.0
        slope = np.stack([gx * px / spread_x, gx, gy * py / spread_y, gy], axis=1)
        weight = np.exp(-((d / 2) ** 2))[:, None]
        left = (slope * weight).T @ slope + RIDGE * len(d) * np.eye(4)
        step = np.linalg.solve(left, -(slope * weight).T @ d)
        scale = scale + np.array([step[0] / spread_x, step[2] / spread_y])
        offset = offset + np.array([step[1], step[3]])
    before, after = points * np.array(m.scale) + np.array(m.offset), points * scale + offset
    if np.abs(before - after).max() > max(1.5, 0.012 * w) or _apart(after, distance) > 0.95 * _apart(before, distance):
        return m
    return Map((float(scale[0]), float(scale[1])), (float(offset[0]), float(offset[1])))


def _apart(at: NDArray[np.float64], distance: NDArray[np.float32]) -> float:
    """Mean distance of places [n, 2] from an outline, none counting as more than NEAR."""
    h, w = distance.shape
    x, y = np.clip(np.round(at).astype(int), 0, (w - 1, h - 1)).T
    return float(np.minimum(distance[y, x], NEAR).mean())


def apply(registration: Registration, rgb: Rgb, render: tuple[int, int], canvas: tuple[int, int], paper: Rgb) -> Rgb:
    """The picture `rgb` on the target's `canvas` (width, height); `render` is the size of its own canvas, `paper` [3]
    fills what it does not reach."""
    factor = render[0] / rgb.shape[1], render[1] / rgb.shape[0]
    out = np.empty((canvas[1], canvas[0], *rgb.shape[2:]), np.uint8)
    out[:] = paper
    region = (0, 0, *canvas)
    if registration.cut is not None:
        x0, y0, x1, y1 = (round(v) for v in registration.cut)
        region = (max(0, x0), max(0, y0), min(canvas[0], x1), min(canvas[1], y1))
    _paste(out, rgb, _from_pixels(registration.whole, factor), region)
    if len(registration.panels) > 1:
        for source, goal in registration.panels:
            x0, y0, x1, y1 = (round(v) for v in goal)
            region = (max(0, x0 - 1), max(0, y0 - 1), min(canvas[0], x1 + 2), min(canvas[1], y1 + 2))
            out[region[1] : region[3], region[0] : region[2]] = paper
            _paste(out, rgb, _from_pixels(Map.between(source, goal), factor), region)
    return out


def _from_pixels(m: Map, factor: tuple[float, float]) -> Map:
    return Map((m.scale[0] * factor[0], m.scale[1] * factor[1]), m.offset)


def _paste(out: Rgb, rgb: Rgb, m: Map, region: tuple[int, int, int, int]) -> None:
    """Write the part of `rgb` that falls into `region` (x0, y0, x1, y1) of `out`. A fraction of a pixel there is whole
    pixels of a larger picture, by which it moves before it is made smaller: that blurs nothing."""
    size = max(1, round(rgb.shape[1] * m.scale[0])), max(1, round(rgb.shape[0] * m.scale[1]))
    (ox, oy), (sx, sy) = m.offset, m.scale
    (x, kx), (y, ky) = _whole(ox, sx), _whole(oy, sy)
    whole = _moved(rgb, kx, ky) if (kx, ky) != (0, 0) else rgb
    left = ox - x - kx * sx, oy - y - ky * sy
    if size != rgb.shape[1::-1]:
        way = cv2.INTER_AREA if size[0] <= rgb.shape[1] and size[1] <= rgb.shape[0] else cv2.INTER_LINEAR
        whole = cv2.resize(whole, size, interpolation=way)  # type: ignore[assignment]
    if max(abs(left[0]), abs(left[1])) > 0.3:
        whole = _moved(whole, *left)
    x0, y0 = max(region[0], x), max(region[1], y)
    x1, y1 = min(region[2], x + size[0]), min(region[3], y + size[1])
    if x1 > x0 and y1 > y0:
        out[y0:y1, x0:x1] = whole[y0 - y : y1 - y, x0 - x : x1 - x]


def _whole(offset: float, scale: float) -> tuple[int, int]:
    """Pixels there and pixels of the picture, at `scale` of the former, that are nearest to an offset together."""
    near = [round(offset) + step for step in (0, -1, 1, -2, 2)] if scale < 1 else [round(offset)]
    both = [(x, round((offset - x) / scale) if scale < 1 else 0) for x in near]
    return min(both, key=lambda one: round(abs(offset - one[0] - one[1] * scale), 2))


def _moved(rgb: Rgb, x: float, y: float) -> Rgb:
    """The picture moved by x, y pixels; its border fills what comes in."""
    way = np.array([[1, 0, x], [0, 1, y]], np.float32)
    return cv2.warpAffine(rgb, way, rgb.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _pairs(target: Side, render: Side) -> list[tuple[Box, Box]]:
    """Panels of the render and the target that belong together, by where they lie within all of them."""
    a, b = render.panels, target.panels
    if len(a) == 0 or len(b) == 0:
        return []
    if len(a) == len(b) == 1:
        return [(tuple(map(float, a[0])), tuple(map(float, b[0])))]  # type: ignore[list-item]
    first, second = _relative(a), _relative(b)
    apart = np.abs(first[:, None] - second[None]).sum(axis=2)
    rows, columns = linear_sum_assignment(apart)
    return [
        (tuple(map(float, a[i])), tuple(map(float, b[j])))  # type: ignore[misc]
        for i, j in zip(rows, columns, strict=True)
        if apart[i, j] < 0.6
    ]


def _relative(boxes: Boxes) -> NDArray[np.float32]:
    x0, y0, x1, y1 = _union([tuple(map(float, box)) for box in boxes])  # type: ignore[misc]
    return (boxes - np.array([x0, y0, x0, y0])) / np.array([x1 - x0, y1 - y0, x1 - x0, y1 - y0])


def _union(boxes: list[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _extent(ink: NDArray[np.float32]) -> Box | None:
    """The box of all ink but stray pixels."""
    inked = ink > 0.2
    rows, columns = np.flatnonzero(inked.sum(axis=1) > 1), np.flatnonzero(inked.sum(axis=0) > 1)
    if len(rows) < 2 or len(columns) < 2:
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _is_sane(m: Map, stretch: tuple[float, float]) -> bool:
    """No axis is stretched several times more than the other, nor than the sizes of the pictures ask for."""
    x, y = m.scale[0] / stretch[0], m.scale[1] / stretch[1]
    return max(x, y) / min(x, y) < MOST_STRETCH and min(x, y) > 1 / MOST_STRETCH and max(x, y) < MOST_STRETCH


def _agreement(target: NDArray[np.float32], render: NDArray[np.float32], m: Map) -> float:
    """1 - sum|A-B| / (sum A + sum B) of inks, both at a fraction of their canvas."""
    height, width = target.shape
    laid = cv2.warpAffine(render, m.matrix(1 / COARSE, 1 / COARSE), (width, height), flags=cv2.INTER_LINEAR)
    return 1 - cv2.norm(target, laid, cv2.NORM_L1) / max(1e-6, float(target.sum() + laid.sum()))
