"""Where something is, seen from near and from afar: a mask blurred at several scales.

Guarantees: two masks overlap by 1 when equal and by 0 when far apart, with everything in between graded by distance
and amount, not by exact pixels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Maps = tuple[NDArray[np.float32], ...]

SPREADS = (0.01, 0.03, 0.09)  # standard deviations as shares of the shorter side


def spreads(data: NDArray[np.bool_]) -> Maps:
    """Blurs of a mask by SPREADS, each at a resolution that the blur makes sufficient."""
    h, w = data.shape
    found = []
    for share in SPREADS:
        sigma = max(0.8, share * min(h, w))
        step = max(1.0, sigma / 1.5)
        size = max(4, round(w / step)), max(4, round(h / step))
        small = cv2.resize(data.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        found.append(cv2.GaussianBlur(small, (0, 0), sigma / step, borderType=cv2.BORDER_CONSTANT))
    return tuple(found)  # type: ignore[arg-type]


def overlap(first: Maps, second: Maps, bolder: float = 1.0) -> float:
    """Mean over the scales of 1 - sum|a-b| / (sum a + sum b) (Bray and Curtis 1957), 0..1. Marks may be up to `bolder`
    times as wide: the second mask weighs as much as the first then."""
    total = 0.0
    for a, b in zip(first, second, strict=True):
        one, other = float(a.sum()), float(b.sum())
        ratio = float(np.clip(one / max(other, 1e-9), 1 / bolder, bolder))
        total += 1 - cv2.norm(a, b * np.float32(ratio), cv2.NORM_L1) / max(one + other * ratio, 1e-9)
    return total / len(first)
