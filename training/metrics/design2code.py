"""Design2Code's scores of a page against the reference page (arXiv 2403.03163 and its repository).

Guarantees: text blocks are found in the renders themselves, without reading pictures: every element that bears text is
painted in a colour of its own, twice, and the pixels that move with the paint are its text; both renders and the
screenshots come from the offline browser. Block, text, position, colour and CLIP are in 0..1; without a matched block
the first four are 0. Left out of the original: its clean-up of endless repetitions in predictions.
"""

import difflib
import functools
import html
import io
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment

from serving.judge.perceptual.colour import difference
from training.metrics.colours import lab

SHIFT, MOVED, SAME = 50, 8, 4  # of the paint; tolerances in steps of 256
GRID = tuple((r, g, b) for r in range(0, 200, 16) for g in range(0, 200, 16) for b in range(0, 200, 16))
GAIN, BONUS, LEAST = 0.05, 0.1, 0.5
VOID = frozenset("area base br col embed hr img input link meta source track wbr".split())  # noqa: SIM905
SILENT = frozenset(("script", "style", "title", "head", "noscript", "template", "option"))
BARE = "background:transparent!important;text-shadow:none!important;"

Pixels = NDArray[np.uint8]
Shoot = Callable[[str], Awaitable[bytes | None]]  # a page -> PNG, None where it does not render


@dataclass(frozen=True)
class Block:
    """One piece of text: box (left, top, width, height) relative to the page, and its mean colour in the screenshot."""

    text: str
    box: tuple[float, float, float, float]
    colour: tuple[float, float, float]

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]


@dataclass(frozen=True)
class Scores:
    """All in 0..1; `clip` None without a model."""

    block: float
    text: float
    position: float
    color: float
    clip: float | None

    @property
    def final(self) -> float | None:
        """Mean of the five; None without CLIP."""
        return None if self.clip is None else fmean((self.block, self.text, self.position, self.color, self.clip))


class Painter(HTMLParser):
    """A page as tokens; every start tag knows the text that stands in it directly."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=False)
        self.tokens: list[str | tuple[str, list[tuple[str, str | None]], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(page if "<html" in page.lower() else f"<html><body>{page}</body></html>")
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        words: list[str] = []
        self.tokens.append((tag, attrs, words))
        if tag not in VOID:
            self._open.append((tag, words))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tokens.append((tag, attrs, []))

    def handle_endtag(self, tag: str) -> None:
        self.tokens.append(f"</{tag}>")
        if any(name == tag for name, _ in self._open):
            while self._open.pop()[0] != tag:
                pass

    def _words(self, raw: str) -> None:
        self.tokens.append(raw)
        if self._open and self._open[-1][0] not in SILENT:
            self._open[-1][1].append(raw)

    def handle_data(self, data: str) -> None:
        self._words(data)

    def handle_entityref(self, name: str) -> None:
        self._words(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self._words(f"&#{name};")

    def handle_decl(self, decl: str) -> None:
        self.tokens.append(f"<!{decl}>")

    def texts(self) -> list[str]:
        """Of each element that bears text, in the order of the page."""
        found = (" ".join(html.unescape("".join(t[2])).split()) for t in self.tokens if not isinstance(t, str))
        return [text for text in found if text][: len(GRID)]

    def painted(self, shift: int) -> str:
        """The page without backgrounds, each text in the colour of its number plus `shift`."""
        parts: list[str] = []
        number = 0
        for token in self.tokens:
            if isinstance(token, str):
                parts.append(token)
                continue
            tag, attributes, words = token
            style = BARE
            if html.unescape("".join(words)).strip():
                if number < len(GRID):
                    paint = "rgb({},{},{})".format(*(c + shift for c in GRID[number]))
                    style += f"color:{paint}!important;-webkit-text-fill-color:{paint}!important;opacity:1!important;"
                number += 1
            own = next((value or "" for name, value in attributes if name == "style"), "")
            rest = "".join(
                f' {name}="{html.escape(value, quote=True)}"' if value is not None else f" {name}"
                for name, value in attributes
                if name != "style"
            )
            parts.append(f'<{tag}{rest} style="{html.escape(own + ";" + style, quote=True)}">')
        return "".join(parts)


def pixels(png: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


async def blocks(page: str, screenshot: Pixels, shoot: Shoot) -> list[Block]:
    """The text blocks of a page that can be seen."""
    painter = Painter(page)
    texts = painter.texts()
    shots = [await shoot(painter.painted(shift)) for shift in (0, SHIFT)]
    if not texts or shots[0] is None or shots[1] is None:
        return []
    first, second = (pixels(png).astype(np.int16) for png in shots if png is not None)
    height, width = (
        min(a, b, c) for a, b, c in zip(first.shape[:2], second.shape[:2], screenshot.shape[:2], strict=True)
    )
    first, second, seen = first[:height, :width], second[:height, :width], screenshot[:height, :width]
    rows, columns = np.nonzero((np.abs(second - first - SHIFT) <= MOVED).all(axis=2))
    paint = first[rows, columns]
    steps = np.clip((paint + 8) // 16, 0, 12)
    near = (np.abs(paint - 16 * steps) <= SAME).all(axis=1)
    rows, columns = rows[near], columns[near]
    numbers = (steps[near] * (169, 13, 1)).sum(axis=1)
    found = []
    for number, text in enumerate(texts):
        ys, xs = rows[numbers == number], columns[numbers == number]
        if len(ys):
            box = xs.min() / width, ys.min() / height, (np.ptp(xs) + 1) / width, (np.ptp(ys) + 1) / height
            colour = seen[ys, xs].mean(axis=0)
            found.append(Block(text.lower(), tuple(map(float, box)), tuple(map(float, colour))))  # type: ignore[arg-type]
    return _merge_equal(found)


def _merge_equal(found: list[Block]) -> list[Block]:
    merged: dict[tuple[float, ...], Block] = {}
    for block in found:
        old = merged.get(block.box)
        merged[block.box] = block if old is None else replace(old, text=f"{old.text} {block.text}")
    return list(merged.values())


def joined(a: Block, b: Block) -> Block:
    """Two neighbours as one block."""
    left, top = min(a.box[0], b.box[0]), min(a.box[1], b.box[1])
    right, bottom = (max(a.box[i] + a.box[i + 2], b.box[i] + b.box[i + 2]) for i in (0, 1))
    colour = tuple((x + y) / 2 for x, y in zip(a.colour, b.colour, strict=True))
    return Block(f"{a.text} {b.text}", (left, top, right - left, bottom - top), colour)  # type: ignore[arg-type]


@functools.lru_cache(2**18)
def ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def _likeness(a: list[Block], b: list[Block]) -> NDArray[np.float64]:
    return np.array([[ratio(x.text, y.text) for y in b] for x in a]).reshape(len(a), len(b))


def _matched(likeness: NDArray[np.float64]) -> float:
    return float(likeness[linear_sum_assignment(likeness, maximize=True)].sum())


def merge_neighbours(a: list[Block], b: list[Block]) -> list[Block]:
    """`a` with neighbours joined, the best first, while that makes the match with `b` better by more than GAIN."""
    likeness = _likeness(a, b)
    best = _matched(likeness)
    while len(a) > 1:
        pairs = [joined(one, next_) for one, next_ in itertools.pairwise(a)]
        ways = [np.vstack([likeness[:i], _likeness([pair], b), likeness[i + 2 :]]) for i, pair in enumerate(pairs)]
        values = [_matched(way) for way in ways]
        i = int(np.argmax(values))
        if values[i] <= best + GAIN:
            break
        best, likeness, a = values[i], ways[i], [*a[:i], pairs[i], *a[i + 2 :]]
    return a


def bonuses(likeness: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each pair that is alike gains from the two best of the up to eight pairs beside it."""
    found = np.zeros_like(likeness)
    for i, j in zip(*np.nonzero(likeness > LEAST), strict=True):
        around = likeness[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].ravel()
        others = np.delete(around, np.flatnonzero(around == likeness[i, j])[0])
        found[i, j] = BONUS * np.sort(others)[-2:].sum()
    return found


def match(a: list[Block], b: list[Block]) -> tuple[list[Block], list[Block], list[tuple[int, int]]]:
    """Both sides after joining, and the pairs that are alike."""
    if not a or not b:
        return a, b, []
    a = merge_neighbours(a, b)
    b = merge_neighbours(b, a)
    likeness = _likeness(a, b)
    pairs = zip(*linear_sum_assignment(likeness + bonuses(likeness), maximize=True), strict=True)
    return a, b, [(int(i), int(j)) for i, j in pairs if likeness[i, j] >= LEAST]


def compare(golden: list[Block], generated: list[Block], clip: float | None) -> Scores:
    """Scores of the blocks of two pages."""
    a, b, pairs = match(golden, generated)
    if not pairs:
        return Scores(0.0, 0.0, 0.0, 0.0, clip)
    everything = sum(block.area for block in (*a, *b))
    covered = sum(a[i].area + b[j].area for i, j in pairs)
    text = fmean(ratio(a[i].text, b[j].text) for i, j in pairs)
    position = fmean(1 - max(abs(_centre(a[i], k) - _centre(b[j], k)) for k in (0, 1)) for i, j in pairs)
    colour = fmean(max(0.0, 1 - _gap(a[i].colour, b[j].colour) / 100) for i, j in pairs)
    return Scores(covered / everything, text, position, colour, clip)


def _centre(block: Block, axis: int) -> float:
    return block.box[axis] + block.box[axis + 2] / 2


def _gap(a: tuple[float, float, float], b: tuple[float, float, float]) -> float:
    hexes = ("#{:02X}{:02X}{:02X}".format(*(round(c) for c in colour)) for colour in (a, b))
    first, second = (np.array([lab(h)]) for h in hexes)
    return float(difference(first, second)[0, 0])  # type: ignore[arg-type]


def without_text(screenshot: Pixels, found: list[Block]) -> Image.Image:
    """What CLIP sees: text boxes painted over from around them (Telea, radius 3), squashed to a square."""
    height, width = screenshot.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    for block in found:
        left, top, w, h = block.box
        mask[int(top * height) : int((top + h) * height) + 1, int(left * width) : int((left + w) * width) + 1] = 255
    image = cv2.inpaint(np.ascontiguousarray(screenshot), mask, 3, cv2.INPAINT_TELEA) if mask.any() else screenshot
    side = min(height, width)
    return Image.fromarray(image).resize((side, side))


def blank() -> Pixels:
    """What stands for a page that does not render."""
    return np.full((960, 1280, 3), 255, np.uint8)
