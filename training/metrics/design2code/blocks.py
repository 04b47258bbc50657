"""Text blocks of a page, found in its renders without reading pictures, as Design2Code's evaluator finds them.

Guarantees: a pixel is text where it moves with the paint in all three channels between two renders; a block is the box
of the pixels in one element's colour, and its colour their mean in the page's own render, cut to whole numbers. Renders
of different sizes, or a page smaller than its painted render, give no block, as in the original.
"""

import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.metrics.design2code.pages import SHIFT, painted, texts

MOVED, SAME = 8, 4  # tolerances in steps of 256

Pixels = NDArray[np.uint8]
Shoot = Callable[[str], Awaitable[bytes | None]]  # a page -> PNG, None where it does not render
Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Block:
    """One piece of text: box (left, top, width, height) relative to the page, and its colour in 0..255."""

    text: str
    box: tuple[float, float, float, float]
    colour: Rgb

    @property
    def area(self) -> float:
        return self.box[2] * self.box[3]

    @property
    def centre(self) -> tuple[float, float]:
        return self.box[0] + self.box[2] / 2, self.box[1] + self.box[3] / 2


def pixels(png: bytes) -> Pixels:
    """[height, width, 3]"""
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


async def blocks(page: str, screenshot: Pixels, shoot: Shoot) -> list[Block]:
    """The text blocks of a page that can be seen, those of one box as one."""
    sources = painted(page, 0), painted(page, SHIFT)
    shots = [await shoot(source) for source in sources]
    if shots[0] is None or shots[1] is None:
        return []
    first, second = (pixels(png) for png in shots if png is not None)
    if first.shape != second.shape:
        return []
    return merged(find(texts(sources[0]), first, second, screenshot))


def find(written: list[tuple[str, tuple[int, int, int]]], first: Pixels, second: Pixels, page: Pixels) -> list[Block]:
    """Blocks of texts, each in its colour of the first render."""
    moved = np.ones(first.shape[:2], bool)
    for channel in range(3):
        wanted = (first[:, :, channel].astype(np.int16) + SHIFT) % 256
        moved &= np.abs(wanted - second[:, :, channel]) <= MOVED
    rows, columns = np.nonzero(moved)
    paint = first[rows, columns].astype(np.int16)
    where: dict[tuple[int, int, int], NDArray[np.intp]] = {}
    # palette colours are 16 apart: one key for each; all else is looked for by itself
    steps = (paint - 10 + 8) // 16
    near = (np.abs(paint - 10 - 16 * steps) <= SAME).all(axis=1)
    chosen = np.flatnonzero(near)
    keys = (steps[near].astype(np.int32) * (256, 16, 1)).sum(axis=1)
    order = np.argsort(keys, kind="stable")
    bounds = np.flatnonzero(np.diff(keys[order])) + 1
    for group in np.split(chosen[order], bounds) if len(chosen) else []:
        r, g, b = (10 + 16 * steps[group[0]]).tolist()
        where[r, g, b] = group
    height, width = first.shape[:2]
    found = []
    for text, colour in written:
        if min(colour) < SAME or max(colour) > 255 - SAME:  # the original's bounds overflow there
            continue
        if any((c - 10) % 16 for c in colour) and colour not in where:
            where[colour] = np.flatnonzero((np.abs(paint - colour) <= SAME).all(axis=1))
        mine = where.get(colour)
        if mine is None or not len(mine):
            continue
        ys, xs = rows[mine], columns[mine]
        if ys.max() >= page.shape[0] or xs.max() >= page.shape[1]:
            return []
        box = xs.min() / width, ys.min() / height, (np.ptp(xs) + 1) / width, (np.ptp(ys) + 1) / height
        mean = page[ys, xs].mean(axis=0).astype(int)
        found.append(Block(text.lower(), tuple(map(float, box)), tuple(map(float, mean))))  # type: ignore[arg-type]
    return found


def merged(found: list[Block]) -> list[Block]:
    """Blocks of one box as one: their texts in order, their colours averaged pair by pair."""
    by_box: dict[tuple[float, ...], Block] = {}
    for block in found:
        old = by_box.get(block.box)
        if old is not None:
            r, g, b = ((x + y) / 2 for x, y in zip(old.colour, block.colour, strict=True))
            block = replace(old, text=f"{old.text} {block.text}", colour=(r, g, b))
        by_box[block.box] = block
    return list(by_box.values())


def without_text(screenshot: Pixels, found: list[Block]) -> Image.Image:
    """What CLIP sees: text boxes painted over from around them (Telea, radius 3), squashed to a square."""
    import cv2

    height, width = screenshot.shape[:2]
    image = np.ascontiguousarray(screenshot[:, :, ::-1])
    if found:
        mask = np.zeros((height, width), np.uint8)
        for block in found:
            left, top, w, h = (int(side * size) for side, size in zip(block.box, (width, height) * 2, strict=True))
            mask[top : top + h, left : left + w] = 255
        image = cv2.inpaint(image, mask, 3, cv2.INPAINT_TELEA)  # type: ignore[assignment]
    side = min(height, width)
    return Image.fromarray(image[:, :, ::-1]).resize((side, side), Image.Resampling.LANCZOS)


def blank() -> Pixels:
    """What stands for a page that does not render."""
    return np.full((960, 1280, 3), 255, np.uint8)
