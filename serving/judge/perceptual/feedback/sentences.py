"""The feedback as a whole: which findings are stated, and the sentences that charts and pages share.

Guarantees: the most harmful finding comes first; there is always something to read.
"""

import numpy as np

from actors.contracts import Difference
from serving.judge.perceptual.colour import difference, names
from serving.judge.perceptual.score import Comparison

MAX_SENTENCES = 4
AGREED = "It looks almost the same."
PERFECT = "It looks the same."
BLANK = "The picture is blank."


def sentence(differences: list[Difference]) -> str:
    """The feedback: the first few findings, one of each category before a second one of any."""
    rank = [sum(d.category == other.category for other in differences[:n]) for n, d in enumerate(differences)]
    chosen = sorted(range(len(differences)), key=lambda n: (rank[n], n))[:MAX_SENTENCES]
    return " ".join(differences[n].what for n in sorted(chosen)) or AGREED


def background(c: Comparison) -> list[Difference]:
    """Another colour behind everything."""
    apart = float(difference(c.target.background[None], c.render.background[None])[0, 0])
    if apart < 4:
        return []
    want, have = names(np.stack([c.target.background, c.render.background]))
    what = f"The background should be {want}, not {have}." if want != have else f"Use another {want} background."
    return [Difference("background", 3 if apart > 20 else 2, "background", what)]
