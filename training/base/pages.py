"""The course in pages: a header alone first, then one block after another, plain pages before looks.

Guarantees: no page of the held-out split is taught; the batch of a step depends on the seed, the step and the share of
the training that is over.
"""

import math
import random
from collections import defaultdict
from typing import Any

from training.base.page_blocks import Blocks
from training.base.teach import Sample, Teacher
from training.data.synthetic_pages import COLOURS, KINDS, WORDS

BATCH = 96
# up to which share of the training, and how often which level of page is shown in it
STAGES = ((0.10, (1,)), (0.18, (1, 2)), (0.30, (2, 3)), (0.42, (3, 4)), (1.0, (3, 4, 5, 5, 5)))
LOOKS_FROM, LOOKS = 0.5, 0.6  # and the share of pages in a look from then on
DECAYS_FROM = 0.6
WARM_UP = 30  # steps
PEAK = 0.3  # a full rate would undo in some steps what the policy that it begins with knows


class Pages:
    """A course over the blocks of one file. `peak`: the largest share of the full learning rate."""

    def __init__(self, blocks: Blocks, seed: int, peak: float = PEAK, batch: int = BATCH) -> None:
        self.blocks, self.seed, self.peak, self.size = blocks, seed, peak, batch

    def batch(self, step: int, done: float) -> list[Sample]:
        rng = random.Random(f"{self.seed}/batch/{step}")
        levels = next(levels for end, levels in STAGES if done <= end)
        samples = []
        for n in range(self.size):
            look = rng.choice(self.blocks.looks) if done > LOOKS_FROM and rng.random() < LOOKS else 0
            found, picture = self.blocks.stacked(rng.choice(levels), look, rng)
            samples.append(Sample(f"{step}/{n}", picture, found.answer))
        return samples

    def rate(self, step: int, done: float) -> tuple[float, float]:
        """A warm-up, then the peak, then a linear decay to nothing."""
        falling = min(1.0, (1 - done) / (1 - DECAYS_FROM))
        return self.peak * min(1.0, (step + 1) / WARM_UP) * falling, 0.0 if done < DECAYS_FROM else 0.1

    def held_out(self, teacher: Teacher, step: int, done: float) -> dict[str, Any]:
        """Teacher-forced, by level and look: shares of words, colours and kinds of blocks that come first, and of pages
        whose line is right to its last token."""
        sets: dict[str, list[int]] = defaultdict(list)
        for i, (_, level, look) in enumerate(self.blocks.pages):
            sets[f"{level}/{look}"].append(i)
        last = next(levels for end, levels in STAGES if done <= end)[-1]
        return {
            name: self._read(teacher, members)
            for name, members in sets.items()
            if int(name[0]) <= last and (name.endswith("plain") or done > LOOKS_FROM)
        }

    def _read(self, teacher: Teacher, members: list[int]) -> dict[str, float]:
        ends = teacher.codec.encode("</think>")[0]
        hits: dict[str, list[float]] = defaultdict(list)
        for start in range(0, len(members), 48):
            part = members[start : start + 48]
            samples = [Sample(str(i), self.blocks.heldout[i], self.blocks.pages[i][0].answer) for i in part]
            for target, score in teacher.scores(samples):
                end = int((target == ends).nonzero()[0])
                right = (score[: end + 1] > math.log(0.5)).tolist()
                hits["line"].append(float(all(right)))
                for token, first in zip(target[:end].tolist(), right, strict=False):
                    text = teacher.codec.decode([token])
                    for name, known in (("word", WORDS), ("colour", COLOURS)):
                        if text in known:
                            hits[name].append(float(first))
                    if any(kind in text for kind in KINDS):
                        hits["kind"].append(float(first))
        return {k: round(sum(v) / len(v), 3) for k, v in hits.items()}
