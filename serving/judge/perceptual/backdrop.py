"""What the strokes of a page stand on: the flat colour nearest to each pixel, panel by panel.

Guarantees: a stroke, thinner than FLAT, stands out by its difference from the panel around it, not from the page's
background; the seam of two panels, a blend of both, stands out by nothing. Nearest flat pixels are those of the exact
Euclidean distance transform (Felzenszwalb and Huttenlocher 2012).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

FLAT = 6  # side of the smallest box of one colour that is a panel; wider strokes than this are no text either
EVEN = 8  # levels of 255 within which neighbours are of one colour, gradients included


def stand_out(small: NDArray[np.uint8], lab: NDArray[np.float32]) -> NDArray[np.float32]:
    """CIELAB distance [h, w] of each pixel of a page [h, w, 3] from what it stands on; 0 on panels and their seams."""
    flat = _flat(small)
    if not flat.any():
        return np.zeros(flat.shape, np.float32)
    _, nearest = cv2.distanceTransformWithLabels(
        (~flat).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, 3), np.float32)
    colours[nearest[flat]] = lab[flat]
    below = colours[nearest]
    around = np.ones((5, 5), np.uint8)  # a seam is two pixels wide at most
    beyond = np.maximum(np.maximum(cv2.erode(below, around) - lab, lab - cv2.dilate(below, around)), 0)
    return np.sqrt((beyond * beyond).reshape(-1, 3) @ np.ones(3, np.float32)).reshape(flat.shape)


def _flat(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Pixels inside a box of one colour."""
    change = cv2.morphologyEx(small, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    even = (np.max(cv2.split(change), axis=0) <= EVEN).astype(np.uint8)
    return cv2.morphologyEx(even, cv2.MORPH_OPEN, np.ones((FLAT - 2, FLAT - 2), np.uint8)).astype(bool)
