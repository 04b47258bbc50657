"""Which colours of a chart are others than the target's, in words.

Guarantees: a colour of marks is spoken of, no shade of text or grid; a stroke that is nowhere solid shows its colour
blended with the background, so that a paler or darker blend of the same ink is no other colour.
"""

import cv2
import numpy as np

from actors.contracts import Difference
from serving.judge.perceptual.colour import names, to_lab, to_rgb
from serving.judge.perceptual.features import Features
from serving.judge.perceptual.score import Comparison

SEEN = 0.05  # weight of a colour that is spoken of
OTHER = 12.0  # CIEDE2000 from which a colour is another one
SOLID = 0.35  # share of an ink's pixels with neighbours of it alone, from which it is more than thin strokes
OUTLINE = 0.05  # the same of an ink that may be outlines alone
OFF_MIX = 0.1  # of sRGB, distance from what lies between two colours
OFF_RAY = 14.0  # CIELAB distance from the ray of a colour's blends with the background
NOUNS = {"pie": "wedge", "areas": "area", "lines": "line", "bars": "bars", "horizontal bars": "horizontal bars",
         "points": "points"}  # fmt: skip


def colours(c: Comparison) -> list[Difference]:
    """Other colours: what stands where the target has a colour that the render lacks."""
    want, have = names(c.target.palette.colours), names(c.render.palette.colours)
    paired = [pair[:2] for pair in c.pairing.pairs if pair[2] < OTHER]
    lacking = _unlike(c.target, c.render, {i for i, _ in paired})
    surplus = _unlike(c.render, c.target, {j for _, j in paired})
    found = []
    noun = NOUNS.get(c.target.shapes.kind or "", "")
    for i in lacking:
        there = c.render.shapes.labels[(c.target.shapes.labels == i) & c.target.shapes.data]
        there = there[there >= 0]
        j = int(np.bincount(there).argmax()) if len(there) > 8 else -1
        shade = f"{want[i]} ({_hex(c.target, i)})"
        if j in surplus and j >= 0:
            other = f"{have[j]} ({_hex(c.render, j)})"
            alone = len(lacking) == 1 and noun
            what = f"The {noun} should be {shade}, not {other}." if alone else f"What is {other} should be {shade}."
            found.append(Difference("colour", 3, want[i], what))
            surplus.remove(j)
        elif surplus and len(lacking) == len(surplus) == 1:
            j = surplus.pop()
            what = f"Use {shade}, not {have[j]} ({_hex(c.render, j)})."
            found.append(Difference("colour", 3, want[i], what))
        else:
            found.append(Difference("colour", 2, want[i], f"Some {shade} is missing."))
    found += [Difference("colour", 2, have[j], f"Remove the {have[j]} ({_hex(c.render, j)}).") for j in surplus]
    return found


def _unlike(side: Features, other: Features, paired: set[int]) -> list[int]:
    """Colours of one side's marks that the other side lacks."""
    return [
        i
        for i, weight in enumerate(side.palette.weights)
        if weight > SEEN
        and i not in paired
        and _is_filled(side, i)
        and not _is_blend(side, i, other)
        and not _is_mix(side, i)
    ]


def _is_filled(side: Features, index: int) -> bool:
    """A colour of marks, no shade of text or grid."""
    return bool(side.palette.coloured[index]) or float(((side.shapes.labels == index) & side.shapes.data).mean()) > 0.01


def solid(side: Features, index: int) -> float:
    """The share of an ink's pixels all of whose neighbours are of it: those show it unblended."""
    pixels = (side.shapes.labels == index).astype(np.uint8)
    return float(cv2.erode(pixels, np.ones((3, 3), np.uint8)).sum()) / max(1, int(pixels.sum()))


def _is_blend(side: Features, index: int, other: Features) -> bool:
    """Whether a colour may be one of the other side's, more or less blended with the background: of the two, one is
    of thin strokes."""
    own = side.palette.colours[index] - side.background
    rays = other.palette.colours - other.background
    along = rays @ own / (np.linalg.norm(rays, axis=1) + 1e-6)
    off = np.sqrt(np.maximum(0.0, float(own @ own) - along**2))
    inks = np.flatnonzero((along > 0) & (off < OFF_RAY)).tolist()
    return any(min(solid(side, index), solid(other, j)) < SOLID for j in inks)


def _is_mix(side: Features, index: int) -> bool:
    """Whether an ink is but the outlines where two others of its picture meet: it lies between them."""
    if solid(side, index) > OUTLINE:
        return False
    black = np.zeros((1, 3), np.float32)  # of text and spines, which may be too few pixels for a colour of their own
    every = to_rgb(np.vstack([side.palette.colours, side.background[None], black]))
    own, rest = every[index], np.delete(every, index, axis=0)
    for n, first in enumerate(rest):
        way = rest[n + 1 :] - first
        at = np.clip((way @ (own - first)) / np.maximum(1e-6, (way * way).sum(axis=1)), 0, 1)
        if (np.linalg.norm(first + at[:, None] * way - own, axis=1) < OFF_MIX).any():
            return True
    return False


def _hex(side: Features, index: int) -> str:
    """The colour of a palette's entry as most of its pixels show it; of thin strokes, as the least blended ones do."""
    chosen = side.shapes.labels == index
    if not chosen.any():
        return ""
    pixels = side.small[chosen]
    if solid(side, index) < SOLID:
        away = np.linalg.norm(to_lab(pixels[:, None])[:, 0] - side.background, axis=1)
        pixels = pixels[away >= np.quantile(away, 0.8)]
    codes, counts = np.unique(pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32), return_counts=True)
    return f"#{codes[counts.argmax()]:06x}"
