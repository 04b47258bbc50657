"""Likeness of two pictures as one number with its parts.

Guarantees: 0..1; 0 for a blank render, 1 for the same picture; every term is 0 where the render has no ink, so white
pays nothing, and terms that unrelated charts share by chance are corrected for it: s' = (s - c) / (1 - c).

score = size * background * sum(w_i s'_i) / sum(w_i) over the terms that either picture gives a reason for:

ink      1 - sum|A-B| / (sum|A| + sum|B|) over colour-difference maps at three blurs (Bray and Curtis 1957; multi-scale
         as Wang et al. 2003)
edges    F1 of outlines, exp(-(d/r)^2) of the distance to the other's nearest outline (chamfer, Barrow et al. 1977)
palette  Hungarian assignment under CIEDE2000 (ChartMimic's colour score)
text     F1 of text lines, each matched by normalised cross-correlation (Lewis 1995); titles weigh 0.4 of it
kind     overlap of the shares of mark shapes (histogram intersection, Swain and Ballard 1991)
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.perceptual.colour import difference
from serving.perceptual.features import Domain, Features, norm, shifted
from serving.perceptual.palette import Pairing, pair
from serving.perceptual.text import TextLines, match

WEIGHTS: dict[Domain, dict[str, float]] = {
    "chart": {"ink": 0.25, "edges": 0.15, "palette": 0.2, "text": 0.2, "kind": 0.2},
    "web": {"ink": 0.3, "edges": 0.2, "palette": 0.2, "text": 0.3},
}
CHANCE = {"ink": 0.1, "edges": 0.2, "palette": 0.2, "text": 0.1, "kind": 0.1}
TITLE = 0.4  # of the text term, where there is a title

PARTS = ("title", "bottom", "left", "right", "inside")


@dataclass(frozen=True)
class Comparison:
    """Everything the wording needs. `render` is the render as aligned; `shift` (x, y) moved it there. `found` and
    `known` [n] tell how well each text line of the target is found in the render and the other way round."""

    score: float
    terms: dict[str, float]
    target: Features
    render: Features
    shift: tuple[int, int]
    pairing: Pairing
    found: NDArray[np.float32]
    known: NDArray[np.float32]


def compare_features(target: Features, render: Features, domain: Domain) -> Comparison:
    """Compare two pictures on one canvas."""
    render, shift = _align(target, render, domain)
    h, w = target.mass.shape
    play = max(2, round(0.008 * (h + w)))
    pairing = pair(target.palette, render.palette)
    found, known = match(target.text, render.text, play), match(render.text, target.text, play)
    terms = {"ink": _ink(target, render), "palette": pairing.agreement}
    if target.edges.any() or render.edges.any():
        terms["edges"] = _edges(target, render)
    if len(found) or len(known):
        terms["text"] = _text(target, render, found, known)
    if domain == "chart" and (target.shapes.count or render.shapes.count):
        terms["kind"] = _kind(target, render)
    size, background = _size(target, render), _background(target, render)
    weights = WEIGHTS[domain]
    corrected = {
        name: max(0.0, (s - CHANCE[name]) / (1 - CHANCE[name])) for name, s in terms.items() if name in weights
    }
    score = sum(weights[name] * s for name, s in corrected.items()) / sum(weights[name] for name in corrected)
    score = float(np.clip(score * size * background, 0.0, 1.0))
    terms = {name: float(s) for name, s in corrected.items()} | {"size": size, "background": background}
    return Comparison(score, terms, target, render, shift, pairing, found, known)


def _align(target: Features, render: Features, domain: Domain) -> tuple[Features, tuple[int, int]]:
    """Undo a small global shift where that makes the inks agree visibly better (phase correlation, Kuglin and Hines
    1975)."""
    (dx, dy), _ = cv2.phaseCorrelate(render.mass, target.mass)
    h, w = target.mass.shape
    shift = round(dx), round(dy)
    if shift == (0, 0) or max(abs(dx) / w, abs(dy) / h) > 0.03:
        return render, (0, 0)
    move = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32)
    moved = cv2.warpAffine(render.mass, move, (w, h), flags=cv2.INTER_NEAREST)
    before, after = np.abs(target.mass - render.mass).sum(), np.abs(target.mass - moved).sum()
    if after > 0.85 * before:
        return render, (0, 0)
    return shifted(render, domain, shift), shift


def _ink(target: Features, render: Features) -> float:
    total = 0.0
    for a, b in zip(target.levels, render.levels, strict=True):
        total += 1 - float(norm(a - b).sum()) / max(float(norm(a).sum() + norm(b).sum()), 1e-9)
    return total / len(target.levels)


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def _edges(target: Features, render: Features) -> float:
    if not target.edges.any() or not render.edges.any():
        return 0.0
    reach = max(1.2, 0.003 * sum(target.mass.shape))
    recall = np.exp(-((render.distance[target.edges] / reach) ** 2)).mean()
    precision = np.exp(-((target.distance[render.edges] / reach) ** 2)).mean()
    return _f1(float(recall), float(precision))


def parts(text: TextLines, frame: tuple[int, int, int, int]) -> NDArray[np.int8]:
    """For each text line the index in PARTS of where it is: above the frame, below, left, right or inside."""
    x, y = (text.boxes[:, 0] + text.boxes[:, 2]) / 2, (text.boxes[:, 1] + text.boxes[:, 3]) / 2
    where = np.full(len(text.boxes), PARTS.index("inside"), dtype=np.int8)
    where[x > frame[2]] = PARTS.index("right")
    where[x < frame[0]] = PARTS.index("left")
    where[y > frame[3]] = PARTS.index("bottom")
    where[y < frame[1]] = PARTS.index("title")
    return where


def widths(text: TextLines) -> NDArray[np.float32]:
    """Weight of each text line: its width, near enough its number of letters in its own size."""
    height = np.maximum(1, text.boxes[:, 3] - text.boxes[:, 1])
    return ((text.boxes[:, 2] - text.boxes[:, 0]) * np.sqrt(height)).astype(np.float32)


def _text(target: Features, render: Features, found: NDArray[np.float32], known: NDArray[np.float32]) -> float:
    w_t, w_r = widths(target.text), widths(render.text)
    title_t = parts(target.text, target.frame) == 0
    title_r = parts(render.text, target.frame) == 0

    def f1(t: NDArray[np.bool_], r: NDArray[np.bool_]) -> float:
        if not t.any() or not r.any():
            return 0.0
        return _f1(float(np.average(found[t], weights=w_t[t])), float(np.average(known[r], weights=w_r[r])))

    title = (title_t.any() or title_r.any()) * TITLE
    rest = ((~title_t).any() or (~title_r).any()) * (1 - TITLE)
    return (title * f1(title_t, title_r) + rest * f1(~title_t, ~title_r)) / (title + rest)


def _kind(target: Features, render: Features) -> float:
    a, b = target.shapes, render.shapes
    if not a.count or not b.count:
        return 0.0
    many = min(a.count, b.count) / max(a.count, b.count)
    return float(np.minimum(a.shares, b.shares).sum() * (0.85 + 0.15 * many))


def _size(target: Features, render: Features) -> float:
    """Square root of the ratio of widths times that of heights, and the share of ink outside the target's extent."""
    (w1, h1), (w2, h2) = target.size, render.size
    ratio = min(w1, w2) / max(w1, w2) * min(h1, h2) / max(h1, h2)
    return float(ratio**0.5 * (1 - render.overflow))


def _background(target: Features, render: Features) -> float:
    apart = float(difference(target.background[None], render.background[None])[0, 0])
    return 1.0 if apart < 1 else 1 - 0.4 * min(1.0, apart / 50)
