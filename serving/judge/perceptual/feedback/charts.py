"""What differs between two charts: what, where, which way and how much, for the writer of the program.

Guarantees: a sentence names one thing of the target and leads to it; there is nothing about what agrees, nor of what no
program text decides (resolution); the most harmful comes first: kind, number and values of marks, colours, text, then
the arrangement. The same pictures give the same sentences.
"""

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from actors.contracts import Difference
from serving.judge.perceptual.colour import names
from serving.judge.perceptual.features import Features
from serving.judge.perceptual.feedback.colours import OTHER, colours, solid
from serving.judge.perceptual.feedback.sentences import background
from serving.judge.perceptual.feedback.shades import shades
from serving.judge.perceptual.lines import PARTS, Lines
from serving.judge.perceptual.ranges import findings
from serving.judge.perceptual.score import Comparison
from serving.judge.perceptual.values import borders, layers, tells

DIFFERS, UNLIKE = 0.7, 0.1  # agreement of titles below which their words differ; of smaller or hardly legible letters
NEAR, STRAY = 0.025, 0.012  # of the plotting area, and share of the marks: what lies that near is in its place
LEGIBLE = 9.0  # pixels of a line
OFF = 0.04  # of the plotting area: a value that much off is spoken of
WEDGE, WHOLE = 0.015, 0.3  # of a pie, and of its pixels that are solid: what is less is no wedge, or an outline
MOST_VALUES = 3
WORDY = 11  # columns of a strip, from which a line is more than a tick label
MARKS = {"bars": "bar", "horizontal bars": "bar", "lines": "line", "points": "point", "pie": "wedge", "areas": "area"}
NOUNS = {
    "title": "title",
    "bottom": "x label",
    "left": "y label",
    "right": "text on the right",
    "inside": "text inside",
}
PLACES = {"title": "at the top", "bottom": "below the axes", "left": "left of the axes", "right": "on the right"}


def chart_findings(c: Comparison) -> list[Difference]:
    """Findings about a chart, the most severe first (stable)."""
    kind = _kind(c)
    marks = [] if kind else [*_panels(c), *_ranges(c), *(_marks(c) if tells(c.target) else shades(c.target, c.render))]
    found = [*kind, *marks, *colours(c), *background(c), *_text(c), *_arrangement(c)]
    return sorted(found, key=lambda d: -d.severity)


def _kind(c: Comparison) -> list[Difference]:
    want, have = c.target.shapes.kind, c.render.shapes.kind
    if want and not c.render.shapes.count:
        return [Difference("data", 3, "axes", f"The {want} are missing.".replace("pie are", "pie is"))]
    alike = float(np.minimum(c.target.shapes.shares, c.render.shapes.shares).sum())
    if want is None or want == have or alike > 0.6 or {want, have} <= {"bars", "areas"} or have is None:
        return []
    return [Difference("type", 3, "axes", f"Draw {_a(want)}, not {_a(have)}.")]


def _a(kind: str) -> str:
    return "a pie" if kind == "pie" else kind


def _panels(c: Comparison) -> list[Difference]:
    assert c.chart is not None
    want, have = len(c.target.panels), len(c.chart.survey.panels)
    if want == have or min(want, have) == 0:
        return []
    return [Difference("layout", 3, "figure", f"Draw {want} panel{'s' * (want > 1)}, not {have}.")]


def _ranges(c: Comparison) -> list[Difference]:
    assert c.chart is not None
    values = c.chart.values
    if c.chart.ranges is not None:
        return findings(c.chart.ranges, c.target.shapes.kind)
    if values.fitted == 0 or abs(values.stretch - 1) < 0.04:
        return []
    axis, way = ("x", ("longer", "shorter")) if values.axis == 0 else ("y", ("taller", "shorter"))
    much = _percent(values.stretch - 1)
    what = f"The {axis} axis should span {'less' if values.stretch > 1 else 'more'}: all marks should be about {much} "
    return [Difference("data", 2, f"{axis} axis", f"{what}{way[0] if values.stretch > 1 else way[1]}.")]


def _percent(share: float) -> str:
    """A share as a percentage, to 5 from 10 on."""
    percent = abs(share) * 100
    return f"{round(percent / 5) * 5 if percent >= 10 else max(1, round(percent))}%"


def _marks(c: Comparison) -> list[Difference]:
    """Number and values of marks, colour by colour."""
    if c.target.shapes.kind == "pie" and c.render.shapes.kind == "pie":
        return _wedges(c)
    if _same_marks(c):
        return []
    pairs = [pair for pair in layers(c.target, c.render, c.pairing) if pair[0].any() and pair[1].any()]
    found: list[Difference] = []
    for n, (t, r) in enumerate(pairs):
        which = "" if len(pairs) == 1 else f" of series {n + 1}"
        if c.target.shapes.kind in ("bars", "horizontal bars", "points"):
            found += _pieces(c, t, r, which)
        else:
            found += _course(c, t, r, which)
    return found


def _same_marks(c: Comparison) -> bool:
    """Whether nearly all marks of either side lie on marks of the other, whatever their colours: where blends of two
    series blur which is which, this still tells."""
    a, b = (side.shapes.data.astype(np.uint8) for side in (c.target, c.render))
    if not a.any() or not b.any():
        return False
    frame = c.target.frame
    reach = max(2.5, NEAR * (frame[3] - frame[1]))
    off = [cv2.distanceTransform(1 - other, cv2.DIST_L2, 3)[own > 0] > reach for own, other in ((a, b), (b, a))]
    return max(float(far.mean()) for far in off) < STRAY


def _pieces(c: Comparison, t: NDArray[np.bool_], r: NDArray[np.bool_], which: str) -> list[Difference]:
    """Bars or points, one by one."""
    kind = c.target.shapes.kind or "points"
    noun = MARKS[kind]
    a, b = _boxes(t, kind), _boxes(r, kind)
    if len(a) != len(b):
        if max(len(a), len(b)) > 30 or (kind == "points" and _touches(c, t, r)):
            return _course(c, t, r, which)
        more = len(a) - len(b)
        many = f"{abs(more)} {'more' if more > 0 else 'fewer'}"
        return [
            Difference("data", 3, "axes", f"Draw {len(a)} {noun}{'s' * (len(a) != 1)}{which}, not {len(b)}: {many}.")
        ]
    frame = c.target.frame
    wide, high = max(1, frame[2] - frame[0]), max(1, frame[3] - frame[1])
    found = []
    if kind == "points":
        middle = [np.stack([(x[:, 0] + x[:, 2]) / 2 / wide, (x[:, 1] + x[:, 3]) / 2 / high], axis=1) for x in (a, b)]
        rows, columns = linear_sum_assignment(np.abs(middle[0][:, None] - middle[1][None]).sum(axis=2))
        off = middle[0][rows] - middle[1][columns]
        for i in np.argsort(-np.abs(off).max(axis=1), kind="stable")[:MOST_VALUES]:
            dx, dy = (float(v) for v in off[i])
            if max(abs(dx), abs(dy)) < OFF:
                continue
            if abs(dy) >= abs(dx):
                way = f"{'lower' if dy > 0 else 'higher'}, by about {_percent(dy)} of the axes' height"
            else:
                way = f"further {'right' if dx > 0 else 'left'}, by about {_percent(dx)} of the axes' width"
            found.append(_value(f"Point {int(rows[i]) + 1} of {len(a)}{which} should be {way}.", max(abs(dx), abs(dy))))
        return found
    upright = kind == "bars"
    size_a, size_b = (x[:, 3] - x[:, 1] if upright else x[:, 2] - x[:, 0] for x in (a, b))
    off = (size_a - size_b) / (high if upright else wide)
    for i in np.argsort(-np.abs(off), kind="stable")[:MOST_VALUES]:
        if abs(off[i]) < OFF:
            continue
        way = ("taller" if upright else "longer") if off[i] > 0 else "shorter"
        much = _percent(float(size_a[i] / size_b[i]) - 1)
        place = "" if upright else " from the top"
        what = f"Bar {i + 1} of {len(a)}{place}{which} should be about {much} {way}."
        found.append(_value(what, float(abs(off[i]))))
    return found


def _value(what: str, off: float) -> Difference:
    return Difference("data", 3 if off > 0.25 else 2, "axes", what)


def _boxes(mask: NDArray[np.bool_], kind: str) -> NDArray[np.float32]:
    """Boxes [n, 4] of the pieces of a mask, from the left, or from the top for horizontal bars."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    stats = stats[1:]
    if len(stats) == 0:
        return np.zeros((0, 4), np.float32)
    area = stats[:, cv2.CC_STAT_AREA]
    stats = stats[area >= max(4, 0.15 * float(np.median(area[area >= 0.1 * area.max()])))]
    x, y, w, h = (stats[:, i].astype(np.float32) for i in range(4))
    order = np.argsort(y if kind == "horizontal bars" else x, kind="stable")
    return np.stack([x, y, x + w, y + h], axis=1)[order]


def _touches(c: Comparison, t: NDArray[np.bool_], r: NDArray[np.bool_]) -> bool:
    """Points so close to each other that some run together."""
    return bool(max(t.mean(), r.mean()) > 0.05)


def _course(c: Comparison, t: NDArray[np.bool_], r: NDArray[np.bool_], which: str) -> list[Difference]:
    """A line or an area: too high or too low on the left, in the middle, on the right."""
    frame = c.target.frame
    high = max(1, frame[3] - frame[1])
    first, second = borders(t), borders(r)
    both = np.flatnonzero(first[0] & second[0])
    if len(both) < 6:
        return []
    noun = MARKS.get(c.target.shapes.kind or "lines", "line")
    line = noun in ("line", "point")
    height = [(b[1] + b[2]) / 2 if line else b[1] for b in (first, second)]
    off = (height[1] - height[0])[both] / high  # more than 0: the render is too low
    edges = np.linspace(both[0], both[-1] + 1, 4)
    places = ("on the left", "in the middle", "on the right")
    parts = [off[(both >= edges[k]) & (both < edges[k + 1])] for k in range(3)]
    means = np.array([float(np.median(part)) if len(part) else 0.0 for part in parts])
    peaks = np.array([float(part[np.abs(part).argmax()]) if len(part) else 0.0 for part in parts])
    means = np.where(np.abs(peaks) > 3 * np.abs(means), peaks * 0.7, means)
    found = []
    if np.abs(means).min() > OFF and np.ptp(means) < 0.5 * np.abs(means).max():
        mean = float(means.mean())
        what = f"The {noun}{which} should be {'higher' if mean > 0 else 'lower'} everywhere, by about {_percent(mean)}"
        return [_value(f"{what} of the axes' height.", abs(mean))]
    for k in np.argsort(-np.abs(means), kind="stable")[:2]:
        mean = float(means[k])
        if abs(mean) > OFF:
            what = f"The {noun}{which} should be {'higher' if mean > 0 else 'lower'} {places[k]}, by about "
            found.append(_value(f"{what}{_percent(mean)} of the axes' height.", abs(mean)))
    return found


def _wedges(c: Comparison) -> list[Difference]:
    """Shares of the wedges of a pie, matched by their colours."""

    def shares(side: Features) -> NDArray[np.float64]:
        count = np.bincount(side.shapes.labels[side.shapes.data].clip(0), minlength=len(side.palette.weights))
        return count / max(1, count.sum())

    a, b = shares(c.target), shares(c.render)
    shade = names(c.target.palette.colours)
    many, other = (
        sum(share > WEDGE and solid(side, i) > WHOLE for i, share in enumerate(part))
        for side, part in ((c.target, a), (c.render, b))
    )
    if many != other:
        more = f"{abs(many - other)} {'more' if many > other else 'fewer'}"
        return [Difference("data", 3, "axes", f"Draw {many} wedges, not {other}: {more}.")]
    found = []
    for i, j, apart in c.pairing.pairs:
        if apart < OTHER and abs(a[i] - b[j]) > OFF:
            way = "larger" if a[i] > b[j] else "smaller"
            what = f"The {shade[i]} wedge should be {way}: about {_percent(a[i])} of the pie, not {_percent(b[j])}."
            found.append(_value(what, abs(float(a[i] - b[j]))))
    return sorted(found, key=lambda d: -d.severity)[:MOST_VALUES]


def _text(c: Comparison) -> list[Difference]:
    assert c.chart is not None
    lines = c.chart.lines
    found = []
    for index, part in enumerate(PARTS):
        if part == "ticks":
            continue
        t, r = lines.parts[0] == index, lines.parts[1] == index
        t, r = t & ~c.target.keyed, r & ~c.chart.survey.keyed
        t, r = t & (c.target.words.lengths > WORDY), r & (c.chart.survey.words.lengths > WORDY)
        severity = 2 if part == "title" else 1
        where = PLACES.get(part, "")
        if t.any() and not r.any():
            found.append(Difference("text", severity, part, f"The {NOUNS[part]} is missing{' ' * bool(where)}{where}."))
        elif r.any() and not t.any():
            if part != "inside":
                found.append(Difference("text", severity, part, f"Remove the {NOUNS[part]}."))
        elif t.any() and part != "inside" and _differs(c, lines, t, DIFFERS if part == "title" else UNLIKE):
            found.append(Difference("text", severity, part, f"The {NOUNS[part]} differs."))
    if c.target.keyed.sum() > 0 and not c.chart.survey.keyed.any():
        found.append(Difference("text", 2, "legend", "The legend is missing."))
    elif c.chart.survey.keyed.sum() > 1 and not c.target.keyed.any():
        found.append(Difference("text", 2, "legend", "Remove the legend."))
    return [*found, *_text_size(c, lines)]


def _differs(c: Comparison, lines: Lines, chosen: NDArray[np.bool_], least: float) -> bool:
    """Whether a line of the target's says something else in the render, as one below the `least` agreement does: of
    those that both pictures show whole, with letters large enough to be read."""
    assert c.chart is not None
    canvases = c.target.side.canvas, c.chart.survey.side.canvas
    scales = c.target.size[0] / canvases[0][0], c.render.size[0] / canvases[1][0]  # pixels of the picture in one of it
    for i in np.flatnonzero(chosen & (lines.partner >= 0)):
        boxes = c.target.words.boxes[i], c.chart.survey.words.boxes[lines.partner[i]]
        if all(_is_whole(box, canvas) for box, canvas in zip(boxes, canvases, strict=True)):
            high = min(min(x[2] - x[0], x[3] - x[1]) * scale for x, scale in zip(boxes, scales, strict=True))
            if lines.found[i] < (UNLIKE if high < LEGIBLE else least):
                return True
    return False


def _is_whole(box: NDArray[np.float32], canvas: tuple[int, int]) -> bool:
    """Whether a line ends before the border of its picture."""
    return bool(box[0] > 0 and box[1] > 0 and box[2] < canvas[0] and box[3] < canvas[1])


def _text_size(c: Comparison, lines: Lines) -> list[Difference]:
    """Larger or smaller letters for the size of the picture, from lines that say the same."""
    assert c.chart is not None
    a, b = c.target.words, c.chart.survey.words
    same = np.flatnonzero((lines.found > 0.6) & (lines.partner >= 0))
    if len(same) == 0:
        return []
    canvas = np.sqrt(np.prod(c.target.side.canvas) / np.prod(c.chart.survey.side.canvas))
    wide_a = np.maximum(a.boxes[same, 2] - a.boxes[same, 0], a.boxes[same, 3] - a.boxes[same, 1])
    other = b.boxes[lines.partner[same]]
    wide_b = np.maximum(other[:, 2] - other[:, 0], other[:, 3] - other[:, 1]) * canvas
    ratio = float(np.median(wide_b / wide_a))
    if 0.83 <= ratio <= 1.2:
        return []
    way = "smaller" if ratio > 1 else "larger"
    return [Difference("text", 1, "everywhere", f"Make the text {way}, by about {_percent(1 / ratio - 1)}.")]


def _arrangement(c: Comparison) -> list[Difference]:
    """Proportions of the picture and of the axes in it."""
    assert c.chart is not None
    found = []
    x, y = c.render.size[0] / c.target.size[0], c.render.size[1] / c.target.size[1]
    if max(x, y) / min(x, y) > 1.03:
        wide = abs(np.log(x)) >= abs(np.log(y))
        ratio = x if wide else y
        words = ("wider", "narrower") if wide else ("taller", "shorter")
        severity = 3 if max(x, y) / min(x, y) > 1.5 else 1
        what = f"Make the picture {words[0] if ratio < 1 else words[1]}."
        found.append(Difference("size", severity, "width" if wide else "height", what))
    registration, canvas = c.chart.registration, c.chart.survey.side.canvas
    noun = "axes" if registration.panels else "drawing"
    for k, words in ((0, ("wider", "narrower")), (1, ("taller", "shorter"))):
        ratio = registration.whole.scale[k] * canvas[k] / c.target.side.canvas[k]
        if registration.panels:
            sides = np.array(
                [(goal[2 + k] - goal[k], source[2 + k] - source[k]) for source, goal in registration.panels]
            )
            ratio = float((sides[:, 0] / sides[:, 1]).mean()) * canvas[k] / c.target.side.canvas[k]
        if abs(ratio - 1) > 0.06:
            way = words[0] if ratio > 1 else words[1]
            what = f"Make the {noun} {way} within the picture, by about {_percent(ratio - 1)}."
            found.append(Difference("layout", 1, "axes", what))
    return found
