"""Similarity of two pictures as one number with its parts.

Guarantees: 0..1; 0 for a blank render, 1 for the same picture; every term is 0 where the render has no ink, so white
pays nothing, and terms that unrelated charts share by chance are corrected for it: s' = (s - c) / (1 - c), as Cohen's
kappa (1960) does. Where ink, marks and outlines are, c is about the upper quartile of pairs of different charts: most
have their axes on the same spot. For text it is what other words on the same spot are worth. Colours and kinds of marks
are drawn from few, so that different charts may truly share them: there c is less than the median (of the colours of
different pages, where black on white is common, that is 0.43).

score = size * background * place * (sum(w_i s'_i^p) / sum(w_i))^(1/p) with p = 1/2 over the terms that either picture
gives a reason for. That generalised mean (Hardy, Littlewood, Polya 1934) lies between sum and product: a picture must
be right in every respect, so that neither a blurred copy nor empty axes live on what they share.

ink      1 - sum|A-B| / (sum|A| + sum|B|) over colour-difference maps at three blurs (Bray and Curtis 1957; multi-scale
         as Wang et al. 2003)
data     the same of where the marks are, whatever their colour, at wider blurs
edges    F1 of outlines, exp(-(d/r)^2) of the distance to the other's nearest outline (chamfer, Barrow et al. 1977)
palette  Hungarian assignment under CIEDE2000 (ChartMimic's colour score); of pages 1 - the earth mover's distance under
         it (Rubner et al. 2000)
text     F1 of text lines, each compared letter by letter (charts.glyphs), titles weighing 0.4 of it; of a page for
         WHERE of the term the overlap of blurred text areas: the right words at another size are worth something.
         A page's text is found by its contrast to the panel it stands on, not to the page's background
kind     overlap of the shares of mark shapes (histogram intersection, Swain and Ballard 1991)
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from configs.domains.domain import Look
from serving.judge.perceptual import page_lines
from serving.judge.perceptual.charts.glyphs import Words
from serving.judge.perceptual.charts.register import Registration
from serving.judge.perceptual.colour import difference
from serving.judge.perceptual.features import (
    Features,
    Rgb,
    Survey,
    behind_legends,
    extract,
    lay,
    moved,
    shifted,
    survey,
)
from serving.judge.perceptual.inks import norm
from serving.judge.perceptual.lines import Lines, match_lines
from serving.judge.perceptual.palette import Pairing, pair
from serving.judge.perceptual.ranges import RANGE, Ranges, compare_ranges, in_units
from serving.judge.perceptual.shapes import THIN, similarity
from serving.judge.perceptual.spread import overlap
from serving.judge.perceptual.values import Values, compare_values, tells

SHADES = {"edges": 0.1, "text": 0.1}  # what weighs in the place of values where no borders tell them, as of an image
POWER = 0.5
REST = 0.02  # what is left to gain above `Look.full`, so that closer is better
MAX_SHIFT = 0.03  # of the canvas, undone before comparing
BOLDER = 2.3  # strokes may be that much wider or thinner: they keep their width where a figure changes its size
AXES, AXES_MOST = 1.6, 0.4  # what marks cost that stand right but for the range of an axis
MEET = 0.93  # of the values, for another range of an axis that registration took to be believed
LETTERS = 0.01  # of what letters are larger or smaller
MARGIN = 0.08  # of what plotting areas are off
WHERE = 0.4
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
    chart: "Chart | None" = None


@dataclass(frozen=True)
class Chart:
    """What the feedback on a chart needs besides."""

    survey: Survey
    registration: Registration
    lines: Lines
    values: Values
    ranges: Ranges | None  # None: no axis that can be read is another one


def compare_features(target: Features, rgb: Rgb, look: Look) -> Comparison:
    """Compare the render `rgb` with a target."""
    return (_compare_charts if look.way == "plot" else _compare_pages)(target, rgb, look)


def _compare_charts(target: Features, rgb: Rgb, look: Look) -> Comparison:
    found = survey(rgb, look, target)
    render, registration = lay(found, rgb, target)
    target = behind_legends(target, found, registration)
    pairing = pair(target.palette, render.palette, "plot")
    values = compare_values(target, render, pairing)
    read = any(a and b for a, b in zip(target.side.scales, found.side.scales, strict=True))
    if registration.fitted > 0 and (read or (tells(target) and values.agreement < MEET)):
        registration = registration.framed()
        render, _ = lay(found, rgb, target, registration)
        pairing = pair(target.palette, render.palette, "plot")
        values = compare_values(target, render, pairing)
    lines = match_lines(target, found, registration.whole)
    fitted, ranged, seen, inside = registration.fitted, values, render, 1.0
    ranges = compare_ranges(target, found, registration, render) if len(registration.panels) < 2 else None
    if len(registration.panels) > 1:
        ranged = Values(values.agreement)
    elif ranges is not None:  # equal values on each other, whatever the ranges of the axes
        seen, agreement, inside = in_units(target, found, rgb, registration, render, pairing, ranges)
        if agreement > values.agreement:
            render, pairing = seen, pair(target.palette, seen.palette, "plot")
        else:  # what looks right is of other values
            ranges = ranges.of_other_values()
        fitted += ranges.cost * agreement
        values = ranged = Values(agreement)
    elif values.fitted > 0:  # the same marks on an axis of another range
        way = registration.ranged(values.axis, values.stretch, values.shift)
        other, _ = lay(found, rgb, target, way)
        again = compare_values(target, other, pair(target.palette, other.palette, "plot"))
        if again.agreement <= values.agreement + 0.1:
            ranged = Values(values.agreement)
        else:
            fitted += RANGE + abs(float(np.log(values.stretch))) / 2
            seen = render = other
            values = again
            pairing = pair(target.palette, render.palette, "plot")
    strokes = float(target.shapes.shares[THIN].sum()) > 0.5
    bolder = BOLDER if strokes else 1.0
    terms = {"ink": _ink(target, seen, bolder)} if target.mass.any() or seen.mass.any() else {}
    if len(target.palette.weights) or len(render.palette.weights):
        terms["palette"] = pairing.agreement
    if target.edges.any() or seen.edges.any():
        terms["edges"] = _edges(target, seen, bolder)
    if len(lines.known) or len(lines.found):
        terms["text"] = lines.score
    if target.shapes.count or render.shapes.count:
        terms["data"] = inside * overlap(target.shapes.spread, seen.shapes.spread, bolder)
        terms["kind"] = similarity(target.shapes, render.shapes)
        if tells(target):
            terms["values"] = values.agreement
    factors = {
        "axes": 1 - min(AXES_MOST, AXES * fitted),
        "size": _proportions(target.size, render.size),
        "background": _background(target, render),
        "place": _arrangement(target, found, registration) * _letters(target, found, lines),
    }
    score, terms = _total(terms, factors, look)
    return Comparison(
        score,
        terms,
        target,
        render,
        (0, 0),
        pairing,
        lines.found,
        lines.known,
        Chart(found, registration, lines, ranged, ranges),
    )


def _compare_pages(target: Features, rgb: Rgb, look: Look) -> Comparison:
    render, shift = _align(target, extract(rgb, look, target), rgb)
    pairing = pair(target.palette, render.palette, "page")
    found, known = page_lines.match_lines(target.words, render.words, _canvas(target))
    terms = {"ink": _ink(target, render), "palette": pairing.agreement}
    if target.edges.any() or render.edges.any():
        terms["edges"] = _edges(target, render)
    if len(found) or len(known):
        terms["text"] = _text(target, render, found, known)
    factors = {"size": _size(target, render), "background": _background(target, render), "place": _place(render, shift)}
    score, terms = _total(terms, factors, look)
    return Comparison(score, terms, target, render, shift, pairing, found, known)


def _total(terms: dict[str, float], factors: dict[str, float], look: Look) -> tuple[float, dict[str, float]]:
    """The score, and its terms after correction for chance with the factors."""
    weights, chance, full = look.weights, look.chance, look.full
    if look.way == "plot" and "values" not in terms:
        weights = {name: weight + SHADES.get(name, 0.0) for name, weight in weights.items()}
        full = {**dict.fromkeys(full, 1.0), "text": full["text"]}
    corrected = {}
    for name, s in terms.items():
        most = min(1.0, (s - chance[name]) / (full[name] - chance[name]))
        corrected[name] = float(max(0.0, (1 - REST) * most + REST * (s - chance[name]) / (1 - chance[name])))
    if not corrected:  # plotting areas and nothing in them
        corrected = {"ink": 1.0}
    mean = sum(weights[name] * s**POWER for name, s in corrected.items()) / sum(weights[name] for name in corrected)
    score = float(np.clip(mean ** (1 / POWER) * np.prod(list(factors.values())), 0.0, 1.0))
    return score, corrected | factors


def _proportions(target: tuple[int, int], render: tuple[int, int]) -> float:
    """A chart at another resolution is the same chart: a little for size, more for other proportions, and nearly all
    for sides several times too long."""
    x, y = render[0] / target[0], render[1] / target[1]
    shape = min(x, y) / max(x, y)
    area = min(x * y, 1 / (x * y))
    if area < 1 / 50:  # of 60 and 300 dots an inch it is 1/25
        return float(50 * area * min(1.0, shape)) / 4
    return float(area**0.003 * min(shape**0.05, 3**2 * shape**2))


def _arrangement(target: Features, found: Survey, registration: Registration) -> float:
    """1 less what other margins cost: the borders of the plotting areas as shares of the pictures' sides, and areas
    without a partner."""
    cost = 0.0
    if len(registration.panels):
        a = np.array([goal for _, goal in registration.panels]) / np.array([*_canvas(target)] * 2)
        b = np.array([source for source, _ in registration.panels]) / np.array([*found.side.canvas] * 2)
        cost = MARGIN * float(np.abs(a - b).mean())
    return max(0.0, 1 - cost) * (0.3 + 0.7 * registration.matched)


def _letters(target: Features, found: Survey, lines: Lines) -> float:
    """1 less a little for lines of other lengths, as shares of the pictures."""
    same = np.flatnonzero((lines.found > 0.5) & (lines.partner >= 0))
    if len(same) == 0:
        return 1.0
    a, b = target.words.boxes[same], found.words.boxes[lines.partner[same]]
    wide = (a[:, 2] - a[:, 0]) / target.side.canvas[0], (b[:, 2] - b[:, 0]) / found.side.canvas[0]
    return float(1 - LETTERS * min(1.0, abs(np.log(np.median(wide[1] / wide[0])))))


def _canvas(target: Features) -> tuple[int, int]:
    return target.small.shape[1], target.small.shape[0]


def _align(target: Features, render: Features, rgb: Rgb) -> tuple[Features, tuple[int, int]]:
    """Undo a small global shift of a page where that makes the inks agree visibly better (phase correlation, Kuglin and
    Hines 1975), by whole pixels of the render itself, so that nothing is blurred."""
    (dx, dy), _ = cv2.phaseCorrelate(render.mass, target.mass)
    h, w = target.mass.shape
    scale = w / target.size[0], h / target.size[1]
    x, y = round(dx / scale[0]), round(dy / scale[1])
    if (x, y) == (0, 0) or max(abs(dx) / w, abs(dy) / h) > MAX_SHIFT:
        return render, (0, 0)
    move = np.array([[1, 0, x * scale[0]], [0, 1, y * scale[1]]], dtype=np.float32)
    about = cv2.warpAffine(render.mass, move, (w, h), flags=cv2.INTER_LINEAR)
    if cv2.norm(target.mass, about, cv2.NORM_L1) > 0.85 * cv2.norm(target.mass, render.mass, cv2.NORM_L1):
        return render, (0, 0)

    def apart(shift: tuple[int, int]) -> float:
        return cv2.norm(target.small, moved(rgb, target, shift)[0], cv2.NORM_L1)

    # the peak tells a pixel of the canvas, which may be several of the render, to half of one
    x, _ = min(((x + step, y) for step in (-1, 0, 1)), key=apart)
    _, y = min(((x, y + step) for step in (-1, 0, 1)), key=apart)
    return shifted(render, rgb, target, (x, y)), (x, y)


def _ink(target: Features, render: Features, bolder: float = 1.0) -> float:
    """Agreement of inks; strokes that may be wider or thinner are seen from further away."""
    total, first_level = 0.0, int(bolder > 1)
    for a, b in list(zip(target.levels, render.levels, strict=True))[first_level:]:
        first, second = float(norm(a).sum()), float(norm(b).sum())
        ratio = np.float32(np.clip(first / max(second, 1e-9), 1 / bolder, bolder))  # strokes of another width
        total += 1 - float(norm(a - b * ratio).sum()) / max(first + second * float(ratio), 1e-9)
    return total / (len(target.levels) - first_level)


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def _edges(target: Features, render: Features, bolder: float = 1.0) -> float:
    if not target.edges.any() or not render.edges.any():
        return 0.0
    reach = max(1.2, 0.003 * sum(target.mass.shape)) * bolder
    recall = np.exp(-((render.distance[target.edges] / reach) ** 2)).mean()
    precision = np.exp(-((target.distance[render.edges] / reach) ** 2)).mean()
    return _f1(float(recall), float(precision))


def parts(text: Words, frame: tuple[int, int, int, int]) -> NDArray[np.int8]:
    """For each text line the index in PARTS of where it is: above the frame, below, left, right or inside."""
    x, y = (text.boxes[:, 0] + text.boxes[:, 2]) / 2, (text.boxes[:, 1] + text.boxes[:, 3]) / 2
    where = np.full(len(text.boxes), PARTS.index("inside"), dtype=np.int8)
    where[x > frame[2]] = PARTS.index("right")
    where[x < frame[0]] = PARTS.index("left")
    where[y > frame[3]] = PARTS.index("bottom")
    where[y < frame[1]] = PARTS.index("title")
    return where


def widths(text: Words) -> NDArray[np.float32]:
    """Weight of each text line: its width, near enough its number of letters in its own size."""
    height = np.maximum(1, text.boxes[:, 3] - text.boxes[:, 1])
    return ((text.boxes[:, 2] - text.boxes[:, 0]) * np.sqrt(height)).astype(np.float32)


def _text(target: Features, render: Features, found: NDArray[np.float32], known: NDArray[np.float32]) -> float:
    w_t, w_r = widths(target.words), widths(render.words)
    title_t = parts(target.words, target.frame) == 0
    title_r = parts(render.words, target.frame) == 0

    def f1(t: NDArray[np.bool_], r: NDArray[np.bool_]) -> float:
        if not t.any() or not r.any():
            return 0.0
        return _f1(float(np.average(found[t], weights=w_t[t])), float(np.average(known[r], weights=w_r[r])))

    title = (title_t.any() or title_r.any()) * TITLE
    rest = ((~title_t).any() or (~title_r).any()) * (1 - TITLE)
    words = (title * f1(title_t, title_r) + rest * f1(~title_t, ~title_r)) / (title + rest)
    return (1 - WHERE) * words + WHERE * overlap(target.text.spread, render.text.spread)


def _size(target: Features, render: Features) -> float:
    """Square root of the ratio of areas, side by side, and its square once that is below a half (nothing honest is
    several times too large); times the share of ink inside the target's extent."""
    (w1, h1), (w2, h2) = target.size, render.size
    ratio = min(w1, w2) / max(w1, w2) * min(h1, h2) / max(h1, h2)
    return float(min(ratio**0.5, 8**0.5 * ratio**2) * (1 - render.overflow))


def _background(target: Features, render: Features) -> float:
    apart = float(difference(target.background[None], render.background[None])[0, 0])
    return 1.0 if apart < 1 else 1 - 0.4 * min(1.0, apart / 50)


def _place(render: Features, shift: tuple[int, int]) -> float:
    """1 less the shift that was undone, as shares of the render's sides: a little, but not nothing."""
    return 1 - abs(shift[0]) / render.size[0] - abs(shift[1]) / render.size[1]
