"""Whether marks end where they should: the heights of bars, the course of lines, the places of points.

Guarantees: marks are known by their outer borders, column by column and row by row and colour by colour, so a value
that is off shows by how far and how wide it is off, while other widths of strokes and a pixel of registration show
nothing; where most borders agree but for another range of the value axis, that is found and undone.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.features import Features
from serving.judge.perceptual.palette import Pairing
from serving.judge.perceptual.shapes import THIN

FREE = 0.014  # of the plotting area: borders that near are equal
FULL = 0.25  # of it: borders that far apart have nothing in common
STROKE = 0.03  # of a plotting area: strokes and points may be so much wider, for they keep their size in any figure
SPIKE = 3  # columns: of fewer a border that a line or bar has at its side
LEAST_WEIGHT = 0.08  # of a colour that is a layer of its own
MOST_MARKS, MOST_LAYERS = 60, 4
SOLID = 0.6  # of a colour is left by opening where its marks are areas
SPECK, LEAST_PIECE = 3, 0.02  # pixels of a piece of a stroke, and its share of the colour
STANDS = 0.7  # share of the marks' feet on the floor
AGREE = 0.5  # share of the borders that must meet for another range to be believed

Mask = NDArray[np.bool_]
Borders = tuple[Mask, NDArray[np.float32], NDArray[np.float32]]  # where marks are, and their first and last pixel


@dataclass(frozen=True)
class Values:
    """`agreement` 0..1; another range of an axis (0 is x): `stretch` and `shift`, in pixels, lay the render's marks on
    the target's so that they agree by `fitted`; 1, 0 where there is no better one."""

    agreement: float
    fitted: float = 0.0
    axis: int = 1
    stretch: float = 1.0
    shift: float = 0.0


def tells(target: Features) -> bool:
    """Whether the borders of a chart's marks tell its values: those of the specks and shades of an image do not."""
    shades = int(((target.palette.weights > LEAST_WEIGHT) & target.palette.coloured).sum())
    return target.shapes.count <= MOST_MARKS and (shades <= MOST_LAYERS or target.shapes.kind == "pie")


def layers(target: Features, render: Features, pairing: Pairing) -> list[tuple[Mask, Mask]]:
    """Masks of the marks of the two sides that belong together: colour by colour, and of all other colours at once."""
    a, b = target.shapes, render.shapes
    large_t = {i for i, w in enumerate(target.palette.weights) if w > LEAST_WEIGHT and target.palette.coloured[i]}
    large_r = {j for j, w in enumerate(render.palette.weights) if w > LEAST_WEIGHT and render.palette.coloured[j]}
    if max(len(large_t), len(large_r)) <= 1:
        return [(a.data, b.data)]
    pairs = [(i, j) for i, j, _ in pairing.pairs if i in large_t and j in large_r]
    found = [(a.data & (a.labels == i), b.data & (b.labels == j)) for i, j in pairs]
    rest_t, rest_r = sorted(large_t - {i for i, _ in pairs}), sorted(large_r - {j for _, j in pairs})
    if rest_t or rest_r:
        found.append((a.data & np.isin(a.labels, rest_t), b.data & np.isin(b.labels, rest_r)))
    return [(without_seams(t), without_seams(r)) for t, r in found]


def without_seams(mask: Mask) -> Mask:
    """The marks of one colour without what blends of two other colours leave of it: lines a pixel wide along filled
    areas, and specks beside strokes."""
    ink = mask.astype(np.uint8)
    solid = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    if solid.sum() > SOLID * ink.sum():
        return solid.astype(bool)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= max(SPECK, LEAST_PIECE * float(ink.sum()))
    large[0] = False
    return large[labels] if large.any() else mask


def compare_values(target: Features, render: Features, pairing: Pairing) -> Values:
    """How well the borders of the marks of two charts on one canvas agree."""
    x0, y0, x1, y1 = target.frame
    wide, high = max(8, x1 - x0), max(8, y1 - y0)
    pairs = layers(target, render, pairing)
    columns = [(borders(t), borders(r)) for t, r in pairs]
    rows = [(borders(t.T), borders(r.T)) for t, r in pairs]
    width = _width(target)
    plain = (_agreement(columns, high, width) + _agreement(rows, wide, width)) / 2
    best = Values(plain)
    if plain > 0.9:
        return best
    for axis, sides, size, floor in ((1, columns, high, y1), (0, rows, wide, x0)):
        stretch, shift = _range(sides, size, floor, axis)
        if (stretch, shift) == (1.0, 0.0):
            continue
        moved = [(t, (r[0], r[1] * stretch + shift, r[2] * stretch + shift)) for t, r in sides]
        fitted = _agreement(moved, size, width)
        if fitted > max(plain + 0.1, best.fitted):
            best = Values(plain, fitted, axis, stretch, shift)
    return best


def in_units(
    target: Features, render: Features, pairing: Pairing, stretch: tuple[float, float], shift: tuple[float, float]
) -> float:
    """The agreement once the render's marks are stretched and shifted along x and y. Borders move as numbers, so that
    none is cut off; marks that come to lie beside the picture agree with nothing."""
    x0, y0, x1, y1 = target.frame
    wide, high = max(8, x1 - x0), max(8, y1 - y0)
    pairs = layers(target, render, pairing)
    columns = [_moved(borders(r), (0, 1), stretch, shift) for _, r in pairs]
    width = _width(target)
    rows = [_moved(borders(r.T), (1, 0), stretch, shift) for _, r in pairs]
    upright = _agreement([(borders(t), r) for (t, _), (r, _) in zip(pairs, columns, strict=True)], high, width)
    flat = _agreement([(borders(t.T), r) for (t, _), (r, _) in zip(pairs, rows, strict=True)], wide, width)
    kept = [float(np.mean([share for _, share in sides])) if sides else 1.0 for sides in (columns, rows)]
    return (upright * kept[0] + flat * kept[1]) / 2


def _moved(
    side: Borders, axes: tuple[int, int], stretch: tuple[float, float], shift: tuple[float, float]
) -> tuple[Borders, float]:
    """Borders whose columns lie along the first of `axes` and whose pixels along the other, and the share of the
    columns with marks that is still there."""
    along, across = axes
    there, first, last = side
    place = np.arange(len(there))
    source = np.round((place - shift[along]) / stretch[along]).astype(int)
    inside = (source >= 0) & (source < len(there))
    source = np.clip(source, 0, len(there) - 1)
    at = np.flatnonzero(there) * stretch[along] + shift[along]
    kept = float(((at > -0.5) & (at < len(there) - 0.5)).mean()) if len(at) else 1.0
    by, to = stretch[across], shift[across]
    return (there[source] & inside, first[source] * by + to, last[source] * by + to), kept


def borders(mask: Mask) -> Borders:
    """For each column whether it has marks, and their first and last row."""
    there: Mask = np.asarray(mask.any(axis=0))
    first = mask.argmax(axis=0).astype(np.float32)
    last = (len(mask) - 1 - mask[::-1].argmax(axis=0)).astype(np.float32)
    return there, first, last


def _width(target: Features) -> float:
    """By how much marks may be wider or narrower than the target's, as a share of the plotting area."""
    return STROKE if float(target.shapes.shares[THIN].sum()) > 0.5 else 0.0


def apart(t: Borders, r: Borders, size: int, width: float = 0.0) -> NDArray[np.float32]:
    """For each column how far the borders are apart, 0..1 (NaN where neither side has marks), but for marks that are
    wider or narrower by `width` of the `size`."""
    beside = 2 + round(width * size / 2)
    there_t, there_r = _wider(t[0], beside), _wider(r[0], beside)
    upper, lower = _filled(t[1], t[0]) - _filled(r[1], r[0]), _filled(t[2], t[0]) - _filled(r[2], r[0])
    off = np.abs(upper + lower) / 2 + np.maximum(np.abs(upper - lower) / 2 - width * size, 0)
    off = np.maximum(np.abs(upper), np.abs(lower)) if width == 0 else off
    found = np.clip((off / size - max(FREE, 1.6 / size)) / FULL, 0, 1)
    found[(t[0] & ~there_r) | (r[0] & ~there_t)] = 1.0
    found[~(t[0] & there_r) & ~(r[0] & there_t) & ~((t[0] & ~there_r) | (r[0] & ~there_t))] = np.nan
    return found.astype(np.float32)


def _wider(there: Mask, beside: int) -> Mask:
    """Also true some columns `beside` marks."""
    wide = there.copy()
    for step in range(1, min(beside, len(there) - 1) + 1):
        wide[step:] |= there[:-step]
        wide[:-step] |= there[step:]
    return wide


def _filled(values: NDArray[np.float32], there: Mask) -> NDArray[np.float32]:
    """Values with those of the nearest column that has marks in the others."""
    at = np.flatnonzero(there)
    if len(at) == 0:
        return values
    place = np.arange(len(there))
    after = np.clip(np.searchsorted(at, place), 0, len(at) - 1)
    before = np.clip(after - 1, 0, len(at) - 1)
    nearest = np.where(np.abs(at[after] - place) <= np.abs(at[before] - place), at[after], at[before])
    return values[nearest]


def _agreement(pairs: list[tuple[Borders, Borders]], size: int, width: float) -> float:
    """1 - the root of the mean squared distance of borders over the columns where either side has marks: one value that
    is far off is worse than all a little. What is as narrow as a steep border is no value."""
    total = [_without_spikes(apart(t, r, size, width)) for t, r in pairs]
    used = np.concatenate(total)
    used = used[~np.isnan(used)]
    return 1 - float(np.sqrt(np.mean(used * used))) if len(used) else 1.0


def _without_spikes(found: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distances along an axis without what is narrower than SPIKE columns."""
    opened = cv2.morphologyEx(np.nan_to_num(found)[None], cv2.MORPH_OPEN, np.ones((1, SPIKE), np.uint8))[0]
    return np.where(np.isnan(found), found, opened).astype(np.float32)


def _stands(sides: list[Borders], floor: int, size: int, inner: int) -> bool:
    """Whether most marks begin at the floor, as bars do."""
    feet = np.concatenate([side[inner][side[0]] for side in sides])
    return bool(len(feet)) and float((np.abs(feet - floor) < 0.03 * size).mean()) > STANDS


def _range(pairs: list[tuple[Borders, Borders]], size: int, floor: int, axis: int) -> tuple[float, float]:
    """Stretch and shift of the render's places along an axis by which most of its outer borders (upper or right ones)
    meet the target's: of all lines through one of them and the floor, and, where marks do not stand on it, through two
    of them, the best one. Bars that are all higher by as much are other values, not another range."""
    outer = 1 if axis == 1 else 2
    a = np.concatenate([t[outer][t[0] & r[0]] for t, r in pairs])
    b = np.concatenate([r[outer][t[0] & r[0]] for t, r in pairs])
    if len(a) < 8:
        return 1.0, 0.0
    index = np.linspace(0, len(a) - 1, 24).astype(int)
    i, j = (grid.ravel() for grid in np.meshgrid(index, index))
    standing = _stands([t for t, _ in pairs], floor, size, 3 - outer)
    far = (np.abs(b[i] - b[j]) > 0.08 * size) & (not standing)
    i, j = i[far], j[far]
    bars = index[np.abs(b[index] - floor) > 0.08 * size]
    stretch = np.concatenate([(a[i] - a[j]) / (b[i] - b[j]), (a[bars] - floor) / (b[bars] - floor)])
    shift = np.concatenate([a[i], np.full(len(bars), float(floor))])
    shift -= stretch * np.concatenate([b[i], np.full(len(bars), float(floor))])
    sane = (stretch > 0.5) & (stretch < 2)
    stretch, shift = stretch[sane], shift[sane]
    if len(stretch) == 0:
        return 1.0, 0.0
    near = np.abs(stretch[:, None] * b[None] + shift[:, None] - a[None]) < max(1.5, 0.02 * size)
    share = near.mean(axis=1) - 0.02 * np.abs(np.log(stretch))
    best = int(share.argmax())
    return (float(stretch[best]), float(shift[best])) if share[best] > AGREE else (1.0, 0.0)
