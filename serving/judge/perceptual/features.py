"""What the eye keeps of a picture: ink, edges, palette, text lines and shapes, on a small canvas.

Guarantees: everything is measured on ink, the difference from the picture's own background, so an empty page has no
features at all; a picture's features depend on nothing but its bytes, the domain and the canvas, hence may be cached.
Canvas coordinates are pixels of the scaled-down target, x to the right, y down.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.judge.perceptual.backdrop import stand_out
from serving.judge.perceptual.colour import Lab, to_lab
from serving.judge.perceptual.palette import Palette, find_palette
from serving.judge.perceptual.shapes import Shapes, find_shapes
from serving.judge.perceptual.text import TextLines, find_lines, find_text

Rgb = NDArray[np.uint8]
Domain = Literal["chart", "web"]

CANVAS_PIXELS = {"chart": 120_000, "web": 400_000}  # text stays legible: 5 px a letter at 640x480 and 100 dpi
MAX_PIXELS = 16_000_000
SIGMAS = (1.2, 3.0, 8.0)  # blur of the ink levels at a canvas of 400x300, scaled with the canvas
FULL_INK = 50.0  # CIELAB distance from the background that counts as full ink
FAINT = 0.06  # ink below this is compression noise or nothing a reader sees
SLACK = 0.01  # of a page's extent: ink that little beyond it is no overflow
BLANK_INK = 4e-4  # share of inked pixels below which a page is blank


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


def canvas_of(rgb: Rgb, domain: Domain) -> tuple[int, int]:
    """Width and height on which a target and all its renders are measured."""
    height, width = rgb.shape[:2]
    scale = min(1.0, (CANVAS_PIXELS[domain] / (height * width)) ** 0.5)
    return max(8, round(width * scale)), max(8, round(height * scale))


def _place(rgb: Rgb, canvas: tuple[int, int], scale: float | None) -> Rgb:
    """A chart is stretched to the canvas; a page keeps `scale` and is cut or continued with its background."""
    width, height = canvas
    if scale is None:
        return rgb if rgb.shape[1::-1] == canvas else cv2.resize(rgb, canvas, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]
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


def _background(rgb: Rgb, domain: Domain, wanted: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A figure shows its background along its border, a page nearly everywhere. Where `wanted` (the target's) covers a
    quarter of that it is taken, or a page of two colours in halves would turn inside out by a word more or less."""
    if domain == "web":
        where = rgb[::2, ::2].reshape(-1, 3)
    else:
        where = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    if wanted is not None and (_largest(cv2.absdiff(where[None], np.full_like(where[None], wanted))) < 8).mean() > 0.25:
        return wanted
    found = _mode(where)
    if domain == "chart" and (np.abs(rgb[::4, ::4].astype(np.int16) - found).max(axis=2) < 8).mean() < 0.05:
        return _mode(rgb[::4, ::4].reshape(-1, 3))  # the border is a frame drawn around the figure
    return found


def is_blank(rgb: Rgb, domain: Domain) -> bool:
    """Nothing but background, up to a few stray pixels and, of a chart, a frame along its border."""
    apart = _largest(cv2.absdiff(rgb, np.full_like(rgb, _background(rgb, domain))))
    if border := min(apart.shape) // 100 if domain == "chart" else 0:
        apart = apart[border:-border, border:-border]
    return int(np.count_nonzero(apart > 16)) < max(4, BLANK_INK * apart.size)


def extract(image: bytes | Rgb, domain: Domain, target: "Features | None" = None) -> Features:
    """Features of a picture, on the canvas of `target` (None: its own). Raises ValueError for what is no image."""
    rgb = decode(image)
    size = (rgb.shape[1], rgb.shape[0])
    if target is None:
        target_size, canvas = size, canvas_of(rgb, domain)
    else:
        target_size, canvas = target.size, (target.small.shape[1], target.small.shape[0])
    small = _place(rgb, canvas, canvas[0] / target_size[0] if domain == "web" else None)
    paper = _background(small, domain, None if target is None else target.paper)
    return _measure(small, domain, size, paper, _overflow(rgb, target_size) if domain == "web" else 0.0)


def _measure(small: Rgb, domain: Domain, size: tuple[int, int], paper: NDArray[np.uint8], overflow: float) -> Features:
    """Features of a picture that is already on its canvas."""
    h, w = small.shape[:2]
    lab = to_lab(small)
    background = to_lab(paper.reshape(1, 1, 3))[0, 0]
    ink = (lab - background) / FULL_INK
    length = norm(ink)
    mass = np.minimum(length, 1.0)
    mass[mass < FAINT] = 0.0
    ink *= (mass / np.maximum(length, 1e-6))[:, :, None]
    factor = (w * h / 120_000) ** 0.5
    levels = tuple(_blur(ink, max(0.8, sigma * factor)) for sigma in SIGMAS)
    lines, frame = find_lines(mass)
    if domain == "chart":
        text = find_text(mass, lines, np.hypot(lab[:, :, 1], lab[:, :, 2]))
    else:
        strokes = np.minimum(stand_out(small, lab) / FULL_INK, 1.0)
        text = find_text(strokes, find_lines(strokes)[0], None)
    edges = _edges(ink) & ~text.mask
    palette, labels = find_palette(lab, background, mass, domain)
    shapes = find_shapes(mass, labels, palette.coloured, text.mask, lines)
    if frame is None:
        frame = shapes.box if shapes.count else (0, 0, w, h)
    distance = cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 3).astype(np.float32, copy=False)
    return Features(
        small, size, background, paper, mass, levels, edges, distance, palette, text, shapes, lines, frame, overflow
    )


def moved(rgb: Rgb, domain: Domain, target: Features, shift: tuple[int, int]) -> Rgb:
    """A render on the canvas, moved by `shift` (x, y) of its own pixels over its own background. The strip along the
    border that a chart uncovers shows nothing of the render and is taken from the target, so that it costs nothing."""
    (x, y), (h, w), canvas = shift, rgb.shape[:2], (target.small.shape[1], target.small.shape[0])
    move = np.array([[1, 0, x], [0, 1, y]], dtype=np.float32)
    fill = tuple(int(v) for v in _background(rgb, domain, target.paper))
    whole: Any = cv2.warpAffine(rgb, move, (w, h), flags=cv2.INTER_NEAREST, borderValue=fill)
    if domain == "web":
        return _place(whole, canvas, canvas[0] / target.size[0])
    small = _place(whole, canvas, None)
    wide, high = -(-abs(x) * canvas[0] // w), -(-abs(y) * canvas[1] // h)
    columns = slice(0, wide) if x > 0 else slice(canvas[0] - wide, canvas[0])
    rows = slice(0, high) if y > 0 else slice(canvas[1] - high, canvas[1])
    small[rows], small[:, columns] = target.small[rows], target.small[:, columns]
    return small


def shifted(render: Features, rgb: Rgb, domain: Domain, target: Features, shift: tuple[int, int]) -> Features:
    """Features of the render `rgb` moved by `shift` (x, y) of its own pixels."""
    small = moved(rgb, domain, target, shift)
    return _measure(small, domain, render.size, _background(small, domain, target.paper), render.overflow)


def norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean length along the last axis: [h, w, 3] -> [h, w]."""
    squares = (vectors * vectors).reshape(-1, 3) @ np.ones(3, np.float32)
    return np.sqrt(squares).reshape(vectors.shape[:2])


def _largest(values: NDArray[Any]) -> NDArray[Any]:
    """Maximum over the channels, [h, w, 3] -> [h, w] (several times faster than a reduction over so short an axis)."""
    return np.maximum(np.maximum(values[:, :, 0], values[:, :, 1]), values[:, :, 2])


def _blur(ink: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur, at a resolution that the blur itself makes sufficient."""
    step = max(1, int(sigma / 1.5))
    if step > 1:
        size = max(4, ink.shape[1] // step), max(4, ink.shape[0] // step)
        ink, sigma = cv2.resize(ink, size, interpolation=cv2.INTER_AREA), sigma / step  # type: ignore[assignment]
    return cv2.GaussianBlur(ink, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def _edges(ink: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels where any channel of the ink changes by at least a fifth of full ink."""
    horizontal = _largest(cv2.absdiff(ink[:, 1:], ink[:, :-1])) > 0.2
    vertical = _largest(cv2.absdiff(ink[1:], ink[:-1])) > 0.2
    edges = np.zeros(ink.shape[:2], dtype=bool)
    edges[:, 1:] |= horizontal
    edges[1:] |= vertical
    return edges


def _overflow(rgb: Rgb, target: tuple[int, int]) -> float:
    """Share of a page's ink that lies outside the target's extent (width, height) and its SLACK."""
    h, w = rgb.shape[:2]
    right, bottom = (round(side * (1 + SLACK)) for side in target)
    if w <= right and h <= bottom:
        return 0.0
    step = max(1, int((h * w / 400_000) ** 0.5))
    few = np.ascontiguousarray(rgb[::step, ::step])
    ink = _largest(cv2.absdiff(few, np.full_like(few, _mode(few.reshape(-1, 3))))) > 24
    inside = ink[: max(1, bottom // step), : max(1, right // step)].sum()
    return float(1 - inside / max(1, ink.sum()))
