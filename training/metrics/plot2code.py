"""Plot2Code's scores (arXiv 2405.07990 and its repository): pass rate, text match and rating.

Guarantees: programs run once each, in the jail, for their texts (the original runs them in its own process); the text
match counts a reference's text only where the same text stands near its place, and is a Jaccard ratio; averages over
passing samples are the `_pass` columns, the headline ones are those times the pass rate, as published.
"""

import io
import math
import re
from collections.abc import Sequence
from statistics import fmean

import numpy as np
from PIL import Image

from serving.render.chart_tracer import Trace

NEAR = 0.8  # of exp(-distance / 100)
BLOCK = re.compile(r"```python(.*?)```", re.DOTALL)
RATING = re.compile(r"Rating:\s*\[\[(\d+(?:\.\d+)?)\]\]")
QUESTION = (
    "You are shown two charts: the first is the reference, the second a program's attempt to redraw it. Judge how "
    "alike they are in overall appearance, colours, shapes, positions and all other visible elements. Explain briefly "
    "what agrees and what does not. Then give a whole number from 1 (nothing in common) to 10 (no visible difference) "
    "on a line of its own, exactly in this form: Rating: [[5]]"
)


def extract(response: str) -> str:
    """All Python blocks of an answer, or the whole answer where there is none."""
    return "\n".join(block.strip("\n") for block in BLOCK.findall(response)) or response


def passes(png: bytes | None) -> bool:
    """Whether there is a picture and it is not all white."""
    return png is not None and bool((np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) != 255).any())


def text_match(golden: Trace, generated: Trace) -> float:
    """Share of texts that both have at about the same place, in the coordinates that each was given."""
    ratio = [g / max(1e-9, s) for g, s in zip(golden.inches, generated.inches, strict=True)]
    left = [(word.strip().lower(), x * ratio[0], y * ratio[1]) for word, x, y in generated.words]
    matched = 0
    for text, x, y in golden.words:
        for i, (word, u, v) in enumerate(left):
            if word == text.strip().lower() and math.exp(-math.hypot(x - u, y - v) / 100) > NEAR:
                del left[i]
                matched += 1
                break
    everything = len(golden.words) + len(left)  # matched, missing and surplus
    return matched / everything if everything else 1.0


def parse_rating(text: str) -> float | None:
    """1..10 as a model gave it; None (left out of the mean) where it gave none."""
    found = RATING.search(text)
    return float(found[1]) if found and 1 <= float(found[1]) <= 10 else None


def headline(passing: Sequence[float], count: int, passed: int) -> tuple[float | None, float | None]:
    """(mean over the passing samples that have a value, the same times the pass rate); None without any."""
    if not passing or not count:
        return None, None
    mean = fmean(passing)
    return mean, mean * passed / count
