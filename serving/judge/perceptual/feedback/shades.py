"""Where the shades of an image, a contour or a surface differ, whose values no border tells.

Guarantees: says one place, the ninth of the plotting areas whose colours are farthest off, and the colours that both
sides have there; nothing where less than a twentieth of them differs.
"""

import numpy as np

from actors.contracts import Difference
from serving.judge.perceptual.colour import names, to_lab
from serving.judge.perceptual.features import Features

OTHER = 15.0  # CIELAB distance from which a shade is another one
LEAST = 0.05  # share of the plotting areas
SPARSE = 4  # every so many pixels are looked at
ROWS, COLUMNS = ("at the top", "in the middle", "at the bottom"), (" left", "", " right")


def shades(target: Features, render: Features) -> list[Difference]:
    """At most one finding about two pictures on one canvas."""
    x0, y0, x1, y1 = target.frame
    a, b = (to_lab(np.ascontiguousarray(side.small[y0:y1:SPARSE, x0:x1:SPARSE])) for side in (target, render))
    if min(a.shape[:2]) < 3:
        return []
    apart = np.linalg.norm(a - b, axis=2)
    share = float((apart > OTHER).mean())
    if share < LEAST:
        return []
    cells = [np.array_split(row, 3, axis=1) for row in np.array_split(apart, 3, axis=0)]
    k = int(np.argmax([cell.mean() for row in cells for cell in row]))
    row, column = divmod(k, 3)
    inside = [np.array_split(np.array_split(lab, 3, axis=0)[row], 3, axis=1)[column].reshape(-1, 3) for lab in (a, b)]
    want, have = (names(np.median(lab, axis=0)[None].astype(np.float32))[0] for lab in inside)
    what = f"The values differ most {ROWS[row]}{COLUMNS[column]}"
    what += f": {want} there, not {have}." if want != have else "."
    return [Difference("data", 3 if share > 0.25 else 2, "axes", what)]
