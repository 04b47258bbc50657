"""What the eye keeps of a picture: ink, edges, palette, text lines and shapes, on a small canvas.

Guarantees: everything is measured on ink, the difference from the picture's own background, so an empty page has no
features at all; a picture's features depend on nothing but its bytes, the domain and the target, hence may be cached.
A chart is surveyed on a canvas of its own (text, plotting areas), then laid on the target's canvas, plotting area on
plotting area, where its marks are measured without text and spines. Coordinates are pixels of a canvas, y down.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from configs.domains.domain import Look
from serving.judge.perceptual.backdrop import stand_out
from serving.judge.perceptual.charts.frames import BEHIND, find_frames, in_front, legends
from serving.judge.perceptual.charts.frames import outlines as frame_lines
from serving.judge.perceptual.charts.glyphs import Words, find_words
from serving.judge.perceptual.charts.legend import FRAME_INK, keys
from serving.judge.perceptual.charts.panels import Boxes, find_panels
from serving.judge.perceptual.charts.register import Registration, Side, apply, register
from serving.judge.perceptual.charts.scales import find_scales
from serving.judge.perceptual.colour import Lab
from serving.judge.perceptual.inks import FULL_INK, blurred, edges_of, flat, ink_of, largest
from serving.judge.perceptual.palette import HUED, Palette, Way, find_palette
from serving.judge.perceptual.shapes import Shapes, find_shapes
from serving.judge.perceptual.text import TextLines, find_lines, find_text

Rgb = NDArray[np.uint8]

MAX_PIXELS = 16_000_000
SIGMAS = (1.2, 3.0, 8.0)  # blur of the ink levels at a canvas of 400x300, scaled with the canvas
SLACK = 0.01  # of a page's extent: ink that little beyond it is no overflow
OUTSIDE = 0.35  # weight of a chart's ink outside its plotting areas, where legends and colour bars are
SPINE = 2.5  # ink this near to the border of a plotting area is its spine, canvas pixels
HIDDEN = 0.5  # of the marks, which a render's legend may lie upon
KEPT_UP_TO = 2.6  # a render with this many times the target's pixels is surveyed as it is, a larger one scaled down


@dataclass(frozen=True)
class Features:
    """`ink` [h, w, 3] is the CIELAB difference from `background` scaled so that 1 is full ink; `mass` [h, w] its
    length, 0..1; `levels` are blurred inks; `edges` [h, w] marks outlines that are not text."""

    small: Rgb  # the picture on its canvas
    size: tuple[int, int]  # width, height of the picture itself
    background: Lab
    paper: NDArray[np.uint8]  # the background as RGB
    mass: NDArray[np.float32]
    levels: tuple[NDArray[np.float32], ...]
    edges: NDArray[np.bool_]
    distance: NDArray[np.float32]  # to the nearest edge, canvas pixels
    palette: Palette
    text: TextLines
    shapes: Shapes
    lines: NDArray[np.bool_]  # long straight lines
    frame: tuple[int, int, int, int]  # x0, y0, x1, y1 around the axes, or around all ink that is not text
    overflow: float  # ink of a page below or right of the target's extent, as a share of all its ink
    panels: Boxes  # a chart's plotting areas
    words: Words  # the text, line by line
    side: Side  # what registration sees of a chart
    keyed: NDArray[np.bool_]  # which of `words` are entries of a legend
    letters: NDArray[np.bool_]  # where a chart's text and its legends are
    legends: NDArray[np.int32]  # boxes [k, 4] of framed legends


@dataclass(frozen=True)
class Survey:
    """A chart on its own canvas: its text and plotting areas, and what registration needs."""

    small: Rgb
    size: tuple[int, int]
    paper: NDArray[np.uint8]
    lab: Lab
    mass: NDArray[np.float32]
    text: TextLines
    letters: NDArray[np.bool_]  # where text and the keys of legends are
    words: Words
    keyed: NDArray[np.bool_]  # which of them are entries of a legend
    panels: Boxes
    side: Side
    legends: NDArray[np.int32]  # boxes [k, 4] of framed legends


NO_PANELS: Boxes = np.zeros((0, 4), np.float32)
NO_SIDE = Side((1, 1), NO_PANELS, np.zeros((1, 1), np.float32), None, np.zeros((0, 2), np.float32), (None, None))


def decode(image: bytes | Rgb) -> Rgb:
    """PNG or JPEG bytes (or an RGB array [h, w, 3]) to RGB; transparency over white. Raises ValueError, one line."""
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected an RGB array of uint8 [h, w, 3], got {image.dtype} {image.shape}")
        return image
    return _decoded(image)


@lru_cache(maxsize=16)
def _decoded(data: bytes) -> Rgb:
    try:
        width, height = Image.open(io.BytesIO(data)).size  # the header alone: a bomb is refused before it is unpacked
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise ValueError(f"not a readable image ({len(data)} bytes)") from None
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image has {width}x{height} pixels; at most {MAX_PIXELS} are compared")
    flat = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if flat is None:
        raise ValueError(f"the image is truncated or damaged ({len(data)} bytes)")
    if flat.dtype != np.uint8:
        flat = (flat // 257).astype(np.uint8)
    if flat.ndim == 2 or flat.shape[2] == 1:
        rgb = cv2.cvtColor(flat, cv2.COLOR_GRAY2RGB)
    elif flat.shape[2] == 4 and flat[:, :, 3].min() < 255:
        share = flat[:, :, 3:].astype(np.float32) / 255.0
        rgb = (flat[:, :, 2::-1] * share + 255.0 * (1 - share) + 0.5).astype(np.uint8)
    else:
        rgb = cv2.cvtColor(flat, cv2.COLOR_BGRA2RGB if flat.shape[2] == 4 else cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    rgb.setflags(write=False)  # shared by every caller with these bytes
    return rgb  # type: ignore[return-value]


def canvas_of(rgb: Rgb, pixels: int) -> tuple[int, int]:
    """Width and height on which a target and all its renders are measured."""
    height, width = rgb.shape[:2]
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    return max(8, round(width * scale)), max(8, round(height * scale))


def _place(rgb: Rgb, canvas: tuple[int, int], scale: float | None) -> Rgb:
    """A chart is scaled to the canvas; a page keeps `scale` and is cut or continued with its background."""
    width, height = canvas
    if scale is None:
        if rgb.shape[1::-1] == canvas:
            return rgb
        way = cv2.INTER_AREA if width <= rgb.shape[1] else cv2.INTER_CUBIC
        return cv2.resize(rgb, canvas, interpolation=way)  # type: ignore[return-value]
    small = rgb
    if scale < 1:
        size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    page = np.empty((height, width, 3), np.uint8)
    page[:] = _mode(small.reshape(-1, 3))
    h, w = min(height, small.shape[0]), min(width, small.shape[1])
    page[:h, :w] = small[:h, :w]
    return page


def _mode(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The most frequent colour of [n, 3], exact to 1/16 of the range, then the mean inside that bin."""
    bins = (pixels[:, 0].astype(np.int32) >> 4) << 8 | (pixels[:, 1] >> 4).astype(np.int32) << 4 | pixels[:, 2] >> 4
    top = int(np.bincount(bins, minlength=4096).argmax())
    return np.median(pixels[bins == top], axis=0).astype(np.uint8)


def _background(rgb: Rgb, way: Way, wanted: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A figure shows its background along its border, a page nearly everywhere. Where `wanted` (the target's) covers a
    quarter of that it is taken, or a page of two colours in halves would turn inside out by a word more or less."""
    where = rgb[::2, ::2].reshape(-1, 3) if way == "page" else np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    if wanted is not None and (largest(cv2.absdiff(where[None], np.full_like(where[None], wanted))) < 8).mean() > 0.25:
        return wanted
    found = _mode(where)
    if way == "plot" and (np.abs(rgb[::4, ::4].astype(np.int16) - found).max(axis=2) < 8).mean() < 0.05:
        return _mode(rgb[::4, ::4].reshape(-1, 3))  # the border is a frame drawn around the figure
    return found


def is_blank(rgb: Rgb, look: Look) -> bool:
    """Nothing but background, up to a few stray pixels and, of a chart, a frame along its border."""
    apart = largest(cv2.absdiff(rgb, np.full_like(rgb, _background(rgb, look.way))))
    if border := min(apart.shape) // 100 if look.way == "plot" else 0:
        apart = apart[border:-border, border:-border]
    return int(np.count_nonzero(apart > 16)) < max(4, look.blank * apart.size)


def extract(image: bytes | Rgb, look: Look, target: "Features | None" = None) -> Features:
    """Features of a target, or of a page on the canvas of its `target`. Raises ValueError for what is no image."""
    rgb = decode(image)
    if look.way == "plot":
        found = survey(rgb, look)
        return _marks(found.small, found, found.letters, found.panels)
    size = (rgb.shape[1], rgb.shape[0])
    target_size = size if target is None else target.size
    canvas = canvas_of(rgb, look.canvas) if target is None else (target.small.shape[1], target.small.shape[0])
    small = _place(rgb, canvas, canvas[0] / target_size[0])
    paper = _background(small, "page", None if target is None else target.paper)
    return _page(small, size, paper, _overflow(rgb, target_size), _extent(rgb, target_size))


def survey(rgb: Rgb, look: Look, target: Features | None = None) -> Survey:
    """What there is to know of a chart before it is laid on its target."""
    canvas = canvas_of(rgb, look.canvas)
    if target is not None:
        area = target.small.shape[0] * target.small.shape[1]
        ratio = rgb.shape[0] * rgb.shape[1] / area
        scale = 1.0 if 1 <= ratio <= KEPT_UP_TO and area * ratio <= 1.2 * look.canvas else ratio**-0.5
        canvas = max(8, round(rgb.shape[1] * scale)), max(8, round(rgb.shape[0] * scale))
    small = _place(rgb, canvas, None)
    paper = _background(small, "plot", None if target is None else target.paper)
    lab, _, mass, ink = ink_of(small, paper)
    lines, frame = find_lines(mass)
    chroma = np.hypot(lab[:, :, 1], lab[:, :, 2])
    # the pale border of a coloured stroke is no text
    frames = find_frames(small)
    borders = frame_lines(frames, mass.shape)
    text = find_text(in_front(mass, frames), lines | borders, cv2.dilate(chroma, np.ones((3, 3), np.uint8)))  # type: ignore[arg-type]
    panels = find_panels(small, mass, paper)
    around = tuple(map(float, frame or (0, 0, *canvas)))
    if len(panels):
        around = (*map(float, panels[:, :2].min(axis=0)), *map(float, panels[:, 2:].max(axis=0)))
    x0, y0, x1, y1 = around
    scales = find_scales(rgb, paper, text.boxes, canvas, (x0, y0, x1, y1)) if len(panels) < 2 else (None, None)
    coloured = (chroma > HUED) & (mass > 0.15)
    words = find_words(text, x0, rgb)
    loose = (mass > FRAME_INK) & ~text.mask & ~lines
    frames, entries = legends(frames, words.boxes.astype(np.int32), (mass > BEHIND) & ~text.mask & ~borders)
    first = keys(words.boxes.astype(np.int32), loose, coloured, (x0, y0, x1, y1))
    letters = text.mask.copy()
    for box, column in zip(words.boxes.astype(int), first.tolist(), strict=True):
        if column >= 0:  # with its entry goes the key: where a legend lies is no value
            letters[max(0, box[1] - 2) : box[3] + 2, max(0, column - 1) : box[2]] = True
    letters |= _covered(frames, mass.shape)
    keyed = (first >= 0) | entries
    coloured &= ~letters
    box = _box(coloured) if coloured.sum() > 20 else None
    plain = np.where(letters, 0, mass)
    y, x = np.nonzero(edges_of(ink) & ~cv2.dilate(letters.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool))
    outlines = np.stack([x, y], axis=1).astype(np.float32)
    inside = np.zeros(len(outlines), bool)
    for x0, y0, x1, y1 in panels:
        inside |= (x > x0 + 3) & (x < x1 - 3) & (y > y0 + 3) & (y < y1 - 3)
    side = Side(canvas, panels, plain, box, outlines[inside] if len(panels) else outlines, scales)
    return Survey(
        small, (rgb.shape[1], rgb.shape[0]), paper, lab, mass, text, letters, words, keyed, panels, side, frames
    )


def lay(
    found: Survey, rgb: Rgb, target: Features, registration: Registration | None = None
) -> tuple[Features, Registration]:
    """Features of the render `rgb` laid on the canvas of its target, and how (found here if not given)."""
    canvas = (target.small.shape[1], target.small.shape[0])
    way = registration or register(target.side, found.side, target.distance)
    small = apply(way, rgb, found.side.canvas, canvas, found.paper)
    letters = apply(way, found.letters.astype(np.uint8) * 255, found.side.canvas, canvas, np.zeros(1, np.uint8))
    return _marks(small, found, (letters > 60) | _covered(target.legends, letters.shape[:2]), target.panels), way


def behind_legends(target: Features, found: Survey, way: Registration) -> Features:
    """The target without the marks that the legend of a render hides: where it lies is no value. Of a legend that hides
    more than HIDDEN of them all stay."""
    if len(found.legends) == 0 or len(way.panels) > 1:
        return target
    boxes = np.round(way.whole.boxes(found.legends.astype(np.float32))).astype(np.int32)
    there = _covered(boxes, target.letters.shape) & ~target.letters
    hidden = int((there & target.shapes.data).sum())
    if not 0 < hidden <= HIDDEN * target.shapes.data.sum():
        return target
    return _marks(target.small, target, target.letters | there, target.panels)


def _covered(boxes: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Where boxes [k, 4] are, and a pixel around them."""
    mask = np.zeros(shape, bool)
    for x0, y0, x1, y1 in boxes.tolist():
        mask[max(0, y0 - 1) : max(0, y1 + 1), max(0, x0 - 1) : max(0, x1 + 1)] = True
    return mask


def _marks(small: Rgb, found: Survey | Features, letters: NDArray[np.bool_], panels: Boxes) -> Features:
    """Features of a chart on a canvas where its text covers `letters` and its plotting areas are `panels`."""
    h, w = small.shape[:2]
    lab, background, mass, ink = ink_of(small, found.paper)
    weight = np.ones((h, w), np.float32)
    if len(panels):
        weight[:] = OUTSIDE
        for x0, y0, x1, y1 in panels:
            weight[max(0, round(y0)) : round(y1) + 1, max(0, round(x0)) : round(x1) + 1] = 1.0
        for x0, y0, x1, y1 in panels:
            rows = slice(max(0, int(y0 - SPINE)), int(y1 + SPINE) + 1)
            columns = slice(max(0, int(x0 - SPINE)), int(x1 + SPINE) + 1)
            for y in (y0, y1):
                weight[max(0, round(y - SPINE)) : max(0, round(y + SPINE)), columns] = 0
            for x in (x0, x1):
                weight[rows, max(0, round(x - SPINE)) : max(0, round(x + SPINE))] = 0
    weight[cv2.dilate(letters.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)] = 0
    mass = mass * (weight > 0)
    ink = ink * weight[:, :, None]
    factor = (w * h / 120_000) ** 0.5
    levels = tuple(blurred(ink, max(0.8, sigma * factor)) for sigma in SIGMAS)
    lines, frame = find_lines(mass)
    edges = edges_of(ink)
    palette, labels = find_palette(lab, background, np.where(weight == 1, mass, 0), "plot", flat(small))
    shapes = find_shapes(mass, labels, palette.coloured, letters, lines)
    if len(panels):
        x0, y0 = panels[:, :2].min(axis=0)
        x1, y1 = panels[:, 2:].max(axis=0)
        frame = (round(float(x0)), round(float(y0)), round(float(x1)), round(float(y1)))
    else:
        frame = shapes.box if shapes.count else (0, 0, w, h)
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 3).astype(np.float32, copy=False)
    return Features(
        small, found.size, background, found.paper, mass, levels, edges, distance, palette, found.text, shapes, lines,
        frame, 0.0, panels, found.words, found.side, found.keyed, letters, found.legends,
    )  # fmt: skip


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _page(small: Rgb, size: tuple[int, int], paper: NDArray[np.uint8], overflow: float, whole: Rgb) -> Features:
    """Features of a page that is already on its canvas; `whole` is its extent in the page's own pixels."""
    h, w = small.shape[:2]
    lab, background, mass, ink = ink_of(small, paper)
    factor = (w * h / 120_000) ** 0.5
    levels = tuple(blurred(ink, max(0.8, sigma * factor)) for sigma in SIGMAS)
    lines, frame = find_lines(mass)
    strokes = np.minimum(stand_out(small, lab) / FULL_INK, 1.0)
    text = find_text(strokes, find_lines(strokes)[0], None)
    edges = edges_of(ink) & ~text.mask
    palette, labels = find_palette(lab, background, mass, "page")
    shapes = find_shapes(mass, labels, palette.coloured, text.mask, lines)
    if frame is None:
        frame = shapes.box if shapes.count else (0, 0, w, h)
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 3).astype(np.float32, copy=False)
    return Features(
        small, size, background, paper, mass, levels, edges, distance, palette, text, shapes, lines, frame, overflow,
        NO_PANELS, find_words(text, 0, whole), NO_SIDE, np.zeros(0, bool), text.mask, np.zeros((0, 4), np.int32),
    )  # fmt: skip


def moved(rgb: Rgb, target: Features, shift: tuple[int, int]) -> tuple[Rgb, Rgb]:
    """A page on the canvas, moved by `shift` (x, y) of its own pixels over its own background; and its own pixels."""
    (x, y), (h, w), canvas = shift, rgb.shape[:2], (target.small.shape[1], target.small.shape[0])
    move = np.array([[1, 0, x], [0, 1, y]], dtype=np.float32)
    fill = tuple(int(v) for v in _background(rgb, "page", target.paper))
    whole: Any = cv2.warpAffine(rgb, move, (w, h), flags=cv2.INTER_NEAREST, borderValue=fill)
    return _place(whole, canvas, canvas[0] / target.size[0]), whole


def shifted(render: Features, rgb: Rgb, target: Features, shift: tuple[int, int]) -> Features:
    """Features of the page `rgb` moved by `shift` (x, y) of its own pixels."""
    small, whole = moved(rgb, target, shift)
    paper = _background(small, "page", target.paper)
    return _page(small, render.size, paper, render.overflow, _extent(whole, target.size))


def _extent(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    """A page cut to `size` (width, height), or continued with its background."""
    (w, h), (high, wide) = size, rgb.shape[:2]
    if (wide, high) == size:
        return rgb
    page = np.empty((h, w, 3), np.uint8)
    page[:] = _mode(rgb[::4, ::4].reshape(-1, 3))
    page[: min(h, high), : min(w, wide)] = rgb[:h, :w]
    return page


def _overflow(rgb: Rgb, target: tuple[int, int]) -> float:
    """Share of a page's ink that lies outside the target's extent (width, height) and its SLACK."""
    h, w = rgb.shape[:2]
    right, bottom = (round(side * (1 + SLACK)) for side in target)
    if w <= right and h <= bottom:
        return 0.0
    step = max(1, int((h * w / 400_000) ** 0.5))
    few = np.ascontiguousarray(rgb[::step, ::step])
    ink = largest(cv2.absdiff(few, np.full_like(few, _mode(few.reshape(-1, 3))))) > 24
    inside = ink[: max(1, bottom // step), : max(1, right // step)].sum()
    return float(1 - inside / max(1, ink.sum()))
