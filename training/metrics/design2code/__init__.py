"""Design2Code's scores of a page against the reference page (arXiv 2403.03163 and its repository).

Guarantees: the reference page is rendered the same way as the prediction (a data set's screenshot is not looked at),
and the prediction is cleaned as there; both come from the offline browser. Block, text, position, colour and CLIP are
in 0..1; without a matched block the first four are 0. `clip` is of the pages without their text.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from PIL import Image

from serving.judge.perceptual.colour import difference
from training.metrics.colours import lab_of
from training.metrics.design2code.blocks import Block, Rgb, Shoot, blank, blocks, pixels, without_text
from training.metrics.design2code.matching import match
from training.metrics.design2code.pages import cleaned, without_noscript

ClipSimilarity = Callable[[Image.Image, Image.Image], float]


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


async def score(golden: str, generated: str | None, shoot: Shoot, clip: ClipSimilarity | None = None) -> Scores | None:
    """One pair of pages, None where the reference does not render; `generated` None scores as an empty picture. Raises
    what `shoot` raises."""

    async def draw(page: str) -> bytes | None:
        return await shoot(without_noscript(page))

    reference_shot = await draw(golden)
    if reference_shot is None:
        return None
    generated = cleaned(generated) if generated else None
    shot = await draw(generated) if generated else None
    seen, other = pixels(reference_shot), pixels(shot) if shot is not None else blank()
    reference = await blocks(golden, seen, draw)
    predicted = await blocks(generated, other, draw) if generated and shot is not None else []

    def compared() -> Scores:
        found, merged = compare(reference, predicted)
        if clip is None:
            return found
        # the original merges the prediction's blocks where they stand, and the reference's in a copy
        similarity = clip(without_text(other, merged), without_text(seen, reference))
        return Scores(found.block, found.text, found.position, found.color, similarity)

    return await asyncio.to_thread(compared)  # long for long pages, and others' deadlines go on


def compare(reference: list[Block], predicted: list[Block]) -> tuple[Scores, list[Block]]:
    """Scores of the blocks of two pages, and the prediction's after merging."""
    a, b, pairs = match(predicted, reference)
    if not pairs:
        return Scores(0.0, 0.0, 0.0, 0.0, None), a
    everything = sum(block.area for block in (*a, *b))
    covered = sum(a[i].area + b[j].area for i, j, _ in pairs)
    text = fmean(ratio for _, _, ratio in pairs)
    position = fmean(1 - max(abs(x - y) for x, y in zip(a[i].centre, b[j].centre, strict=True)) for i, j, _ in pairs)
    colour = fmean(max(0.0, 1 - _gap(a[i].colour, b[j].colour) / 100) for i, j, _ in pairs)
    return Scores(covered / everything, text, position, colour, None), a


def _gap(a: Rgb, b: Rgb) -> float:
    """CIEDE2000."""
    first, second = (np.array([lab_of(colour)]) for colour in (a, b))
    return float(difference(first, second)[0, 0])  # type: ignore[arg-type]
