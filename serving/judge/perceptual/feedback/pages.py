"""The differences of pages in words that the writer of the code can act on.

Guarantees: short sentences out of a closed vocabulary, the most important first; nothing about what agrees; the
words name the target, so following them leads to it.
"""

import numpy as np

from actors.contracts import Difference
from serving.judge.perceptual.colour import names
from serving.judge.perceptual.feedback.sentences import background
from serving.judge.perceptual.score import Comparison, widths
from serving.judge.perceptual.text import letters


def findings(c: Comparison) -> list[Difference]:
    """Findings about a page, the most severe first (stable)."""
    found = [*_size(c), *background(c), *_colours(c), *_content(c), *_text(c), *_shift(c)]
    if c.terms.get("ink", 1.0) < 0.8 and not found:
        found.append(Difference("layout", 2, "page", "The layout differs."))
    return sorted(found, key=lambda d: -d.severity)


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


def _colours(c: Comparison) -> list[Difference]:
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
    for n in range(max(len(wanted), len(unwanted))):
        if n < len(wanted) and n < len(unwanted):
            what = f"Use {wanted[n]}, not {unwanted[n]}."
            found.append(Difference("colour", 3 if n == 0 else 2, wanted[n], what))
        elif n < len(wanted):
            found.append(Difference("colour", 2, wanted[n], f"Some {wanted[n]} is missing."))
        else:
            found.append(Difference("colour", 2, unwanted[n], f"Remove the {unwanted[n]}."))
    return found


def _text(c: Comparison) -> list[Difference]:
    """A page's words as a whole: what is gone, what is new, what is other."""
    w_t, w_r = widths(c.target.words), widths(c.render.words)
    lost = float(w_t[c.found < 0.5].sum()) / max(1.0, float(w_t.sum()))
    new = float(w_r[c.known < 0.5].sum()) / max(1.0, float(w_r.sum()))
    found = _text_size(c)
    if lost > 0.08 and new < 0.5 * lost:
        found.append(Difference("text", 3 if lost > 0.5 else 2, "page", "Some text is missing."))
    elif new > 0.08 and lost < 0.5 * new:
        found.append(Difference("text", 2, "page", "Remove some text."))
    elif not found and max(lost, new) > 0.08:
        found.append(Difference("text", 1, "page", "The text differs."))
    return found


def _text_size(c: Comparison) -> list[Difference]:
    """Larger or smaller letters, from the spread of ink across each line (finer than whole pixels)."""
    first, second = letters(c.target.text), letters(c.render.text)
    if min(len(first), len(second)) == 0:
        return []
    ratio = float(np.median(second) / np.median(first))
    if 0.88 <= ratio <= 1.13:
        return []
    return [Difference("text", 2, "everywhere", f"Make the text {'smaller' if ratio > 1 else 'larger'}.")]


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
