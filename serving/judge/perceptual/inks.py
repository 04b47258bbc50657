"""The ink of a picture: what differs from its background, seen sharp, blurred and by its outlines.

Guarantees: pure functions of arrays; a pixel of the background has no ink, FULL_INK away from it there is full ink, and
what is FAINT, compression noise or nothing a reader sees, is none.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from serving.judge.perceptual.colour import Lab, to_lab

FULL_INK = 50.0  # CIELAB distance from the background that counts as full ink
FAINT = 0.06  # ink below this is compression noise or nothing a reader sees


def ink_of(small: NDArray[np.uint8], paper: NDArray[np.uint8]) -> tuple[Lab, Lab, NDArray[np.float32], Lab]:
    """CIELAB of a canvas, of its background [3], its mass [h, w] and its ink [h, w, 3]."""
    lab = to_lab(small)
    background = to_lab(paper.reshape(1, 1, 3))[0, 0]
    ink = (lab - background) / FULL_INK
    length = norm(ink)
    mass = np.minimum(length, 1.0)
    mass[mass < FAINT] = 0.0
    ink *= (mass / np.maximum(length, 1e-6))[:, :, None]
    return lab, background, mass, ink


def norm(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean length along the last axis: [h, w, 3] -> [h, w]."""
    squares = (vectors * vectors).reshape(-1, 3) @ np.ones(3, np.float32)
    return np.sqrt(squares).reshape(vectors.shape[:2])


def largest(values: NDArray[Any]) -> NDArray[Any]:
    """Maximum over the channels, [h, w, 3] -> [h, w] (several times faster than a reduction over so short an axis)."""
    return np.maximum(np.maximum(values[:, :, 0], values[:, :, 1]), values[:, :, 2])


def flat(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels whose neighbours are of their colour: no outlines, where two colours blend."""
    change = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    return largest(change) <= 24


def blurred(ink: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian blur, at a resolution that the blur itself makes sufficient."""
    step = max(1, int(sigma / 1.5))
    if step > 1:
        size = max(4, ink.shape[1] // step), max(4, ink.shape[0] // step)
        ink, sigma = cv2.resize(ink, size, interpolation=cv2.INTER_AREA), sigma / step  # type: ignore[assignment]
    return cv2.GaussianBlur(ink, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def edges_of(ink: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels where any channel of the ink changes by at least a fifth of full ink."""
    horizontal = largest(cv2.absdiff(ink[:, 1:], ink[:, :-1])) > 0.2
    vertical = largest(cv2.absdiff(ink[1:], ink[:-1])) > 0.2
    edges = np.zeros(ink.shape[:2], dtype=bool)
    edges[:, 1:] |= horizontal
    edges[1:] |= vertical
    return edges
