"""The differences in words that the writer of the code can act on.

Guarantees: short sentences out of a closed vocabulary, the most important first; nothing is said of what agrees; the
words name the target, so following them leads to it.
"""

import numpy as np
from numpy.typing import NDArray

from actors.contracts import Difference
from serving.judge.perceptual.colour import difference, names
from serving.judge.perceptual.features import Domain
from serving.judge.perceptual.legend import entries
from serving.judge.perceptual.score import PARTS, Comparison, parts, widths
from serving.judge.perceptual.text import letters

MAX_SENTENCES = 4
AGREED = "It looks almost the same."
PERFECT = "It looks the same."
BLANK = "The picture is blank."


def findings(c: Comparison, domain: Domain) -> list[Difference]:
    """Findings, the most severe first (stable)."""
    found = [*_size(c), *_background(c)]
    if domain == "chart":
        found += _kind(c)
    found += [*_colours(c, domain), *(_frame(c) if domain == "chart" else _content(c))]
    found += [*(_text(c) if domain == "chart" else _words(c)), *_shift(c)]
    if domain == "chart" and not any(d.category == "type" for d in found):
        found += _data(c)
    elif domain == "web" and c.terms.get("ink", 1.0) < 0.8 and not found:
        found.append(Difference("layout", 2, "page", "The layout differs."))
    return sorted(found, key=lambda d: -d.severity)


def sentence(differences: list[Difference]) -> str:
    """The feedback: the first few findings."""
    return " ".join(d.what for d in differences[:MAX_SENTENCES]) or AGREED


def _size(c: Comparison) -> list[Difference]:
    (w1, h1), (w2, h2) = c.target.size, c.render.size
    found = []
    for what, (a, b), words in (
        ("width", (w1, w2), ("wider", "narrower")),
        ("height", (h1, h2), ("taller", "shorter")),
    ):
        if max(a, b) / min(a, b) > 1.03:
            severity = 3 if max(a, b) / min(a, b) > 1.5 else 2
            found.append(Difference("size", severity, what, f"Make the picture {words[0] if a > b else words[1]}."))
    return found


def _background(c: Comparison) -> list[Difference]:
    apart = float(difference(c.target.background[None], c.render.background[None])[0, 0])
    if apart < 4:
        return []
    want, have = names(np.stack([c.target.background, c.render.background]))
    what = f"The background should be {want}, not {have}." if want != have else f"Use another {want} background."
    return [Difference("background", 3 if apart > 20 else 2, "background", what)]


def _kind(c: Comparison) -> list[Difference]:
    want, have = c.target.shapes.kind, c.render.shapes.kind
    if want and not c.render.shapes.count:
        return [Difference("data", 3, "axes", f"The {want} are missing.".replace("pie are", "pie is"))]
    alike = float(np.minimum(c.target.shapes.shares, c.render.shapes.shares).sum())
    if want is None or want == have or alike > 0.7:
        return []
    return [Difference("type", 3, "axes", f"Draw {_a(want)}, not {_a(have)}." if have else f"Draw {_a(want)}.")]


def _a(kind: str) -> str:
    return "a pie" if kind == "pie" else kind


def _colours(c: Comparison, domain: Domain) -> list[Difference]:
    want, have = names(c.target.palette.colours), names(c.render.palette.colours)
    w_t, w_r = c.target.palette.weights, c.render.palette.weights
    found = []
    missing = [i for i in c.pairing.missing if w_t[i] > 0.06]
    extra = [j for j in c.pairing.extra if w_r[j] > 0.06]
    for i, j, apart in c.pairing.pairs:
        if apart < 9 or min(w_t[i], w_r[j]) < 0.04:
            continue
        if want[i] != have[j]:
            missing, extra = [*missing, i], [*extra, j]
        else:
            lighter = c.target.palette.colours[i, 0] > c.render.palette.colours[j, 0]
            found.append(Difference("colour", 1, want[i], f"Use a {'lighter' if lighter else 'darker'} {want[i]}."))
    wanted = [want[i] for i in sorted(missing, key=lambda i: -w_t[i])]
    unwanted = [have[j] for j in sorted(extra, key=lambda j: -w_r[j])]
    both = set(wanted) & set(unwanted)
    wanted, unwanted = ([n for n in dict.fromkeys(side) if n not in both] for side in (wanted, unwanted))
    same = domain == "chart" and c.target.shapes.kind == c.render.shapes.kind
    subject = c.target.shapes.kind if same else None
    for n in range(max(len(wanted), len(unwanted))):
        if n < len(wanted) and n < len(unwanted):
            what = f"The {subject} should be {wanted[n]}" if subject and n == 0 else f"Use {wanted[n]}"
            found.append(Difference("colour", 3 if n == 0 else 2, wanted[n], f"{what}, not {unwanted[n]}."))
        elif n < len(wanted):
            found.append(Difference("colour", 2, wanted[n], f"Some {wanted[n]} is missing."))
        else:
            found.append(Difference("colour", 2, unwanted[n], f"Remove the {unwanted[n]}."))
    return found


NOUNS = {
    "title": "title",
    "bottom": "x label",
    "left": "y label",
    "right": "text on the right",
    "inside": "text inside",
    "legend": "legend",
}
INSIDE = PARTS.index("inside")
LEGEND = len(PARTS)  # entries of a legend are a part of their own here


def _text(c: Comparison) -> list[Difference]:
    """A chart's words, part by part."""
    found = _text_size(c, [parts(side.text, c.target.frame) for side in (c.target, c.render)])
    sized = bool(found)  # words of another size differ everywhere; saying so once is enough
    w_t, w_r = widths(c.target.text), widths(c.render.text)
    p_t, p_r = parts(c.target.text, c.target.frame), parts(c.render.text, c.target.frame)
    p_t[entries(c.target)] = p_r[entries(c.render)] = LEGEND
    for index, part in enumerate((*PARTS, "legend")):
        t, r = p_t == index, p_r == index
        have, got = float(w_t[t].sum()), float(w_r[r].sum())
        if max(have, got) < 20:
            continue
        noun = NOUNS[part]
        severity = 2 if part == "title" else 1
        gone, new = _agreement(c.found[t], w_t[t]), _agreement(c.known[r], w_r[r])
        if got < 0.25 * have and gone < 0.65:
            found.append(Difference("text", severity + 1, part, f"The {noun} is missing."))
        elif have < 0.25 * got and new < 0.65:
            found.append(Difference("text", severity, part, f"Remove the {noun}."))
        elif not sized and min(gone, new) < 0.65:
            found.append(Difference("text", severity, part, f"The {noun} differs."))
    return found


def _words(c: Comparison) -> list[Difference]:
    """A page's words as a whole: what is gone, what is new, what is other."""
    w_t, w_r = widths(c.target.text), widths(c.render.text)
    lost = float(w_t[c.found < 0.5].sum()) / max(1.0, float(w_t.sum()))
    new = float(w_r[c.known < 0.5].sum()) / max(1.0, float(w_r.sum()))
    found = _text_size(c, [np.zeros(len(side.text.boxes), np.int8) for side in (c.target, c.render)])
    if lost > 0.08 and new < 0.5 * lost:
        found.append(Difference("text", 3 if lost > 0.5 else 2, "page", "Some text is missing."))
    elif new > 0.08 and lost < 0.5 * new:
        found.append(Difference("text", 2, "page", "Remove some text."))
    elif not found and max(lost, new) > 0.08:
        found.append(Difference("text", 1, "page", "The text differs."))
    return found


def _text_size(c: Comparison, places: list[NDArray[np.int8]]) -> list[Difference]:
    """Larger or smaller letters, from the spread of ink across each line (finer than whole pixels), part by part, lines
    inside the axes only where there are no others. `places` are the parts of the target's and the render's lines."""
    sides = [(letters(c.target.text), places[0]), (letters(c.render.text), places[1])]
    ratios: list[float] = []
    for index in range(len(PARTS)):
        first, second = (sizes[where == index] for sizes, where in sides)
        if min(len(first), len(second)) > 0 and not (index == INSIDE and ratios):
            ratios += [float(np.median(second) / np.median(first))] * min(len(first), len(second))
    if not ratios:
        return []
    ratio = float(np.median(ratios))
    if 0.88 <= ratio <= 1.13:
        return []
    return [Difference("text", 2, "everywhere", f"Make the text {'smaller' if ratio > 1 else 'larger'}.")]


def _agreement(values: NDArray[np.float32], weights: NDArray[np.float32]) -> float:
    return float(np.average(values, weights=weights)) if len(values) else 1.0


def _frame(c: Comparison) -> list[Difference]:
    """Wider, taller or moved axes."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = c.target.frame, c.render.frame
    h, w = c.target.mass.shape
    found = []
    for a, b, full, words in (
        (ax1 - ax0, bx1 - bx0, w, ("wider", "narrower")),
        (ay1 - ay0, by1 - by0, h, ("taller", "shorter")),
    ):
        if abs(a - b) > 0.04 * full:
            found.append(Difference("layout", 2, "axes", f"Make the axes {words[0] if a > b else words[1]}."))
    return found


def _content(c: Comparison) -> list[Difference]:
    """A page's content as a block: wider, narrower, or moved sideways."""
    columns = [np.cumsum(side.mass.sum(axis=0)) for side in (c.target, c.render)]
    if min(float(total[-1]) for total in columns) <= 0:
        return []
    (a0, a1, a2), (b0, b1, b2) = (np.searchsorted(total, total[-1] * np.array([0.1, 0.5, 0.9])) for total in columns)
    w = c.target.mass.shape[1]
    found = []
    if abs(int(a2 - a0) - int(b2 - b0)) > 0.05 * w:
        wider = a2 - a0 > b2 - b0
        found.append(Difference("layout", 2, "page", f"Make the content {'wider' if wider else 'narrower'}."))
    if abs(int(a1) - int(b1)) > 0.04 * w:
        found.append(Difference("layout", 2, "page", f"Move the content {'left' if a1 < b1 else 'right'}."))
    return found


def _shift(c: Comparison) -> list[Difference]:
    words = []
    if c.shift[0]:
        words.append("left" if c.shift[0] < 0 else "right")
    if c.shift[1]:
        words.append("up" if c.shift[1] < 0 else "down")
    return [Difference("shift", 1, "everywhere", f"Move everything {word}.") for word in words]


def _data(c: Comparison) -> list[Difference]:
    """Values: the marks are of the right kind but not where, or (in a map of colours) not what they should be."""
    a, b = c.target.shapes, c.render.shapes
    if not a.count or not b.count:
        return []
    together = np.minimum(c.target.mass * a.data, c.render.mass * b.data).sum()
    either = np.maximum(c.target.mass * a.data, c.render.mass * b.data).sum()
    both = a.data & b.data
    apart = np.abs(c.target.small[both].astype(np.int16) - c.render.small[both]).mean() if both.any() else 0.0
    if together > 0.85 * either and (apart < 12 or c.pairing.agreement < 0.5):
        return []
    return [Difference("data", 2, "axes", "The values differ.")]
