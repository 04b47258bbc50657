"""The course in pages: words first, then blocks, then pages; plain ones before looks.

Guarantees: no page of the held-out split is taught; what a step teaches depends on the step and the seed alone.
"""

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from training.base import page_words
from training.base.curriculum import stage_at
from training.base.page_blocks import HEIGHT, Blocks
from training.base.teach import Sample, Teacher
from training.data.synthetic_pages import COLOURS, ROWS, WORDS, Page

LEVELS = (1, 2, 3, 4, 5, 5, 5)  # of whole pages
WARM_UP = 20  # steps of the course
CAPTURED = 0.6  # of pictures in a look
HELD_OUT = 24  # pages of a level and look whose figures are logged
KNOWN = {"word": frozenset(WORDS), "colour": frozenset(COLOURS)}


@dataclass(frozen=True)
class Stage:
    """`steps` of `size` pictures. `words`: what image tokens say, of blocks that fill `rows`; `blocks`: the lines of
    such blocks; `pages`: whole answers about whole pages. `inks`: half of the pictures have other colours. White words
    on colours stay unread long after dark ones on white: inverted, each is a step to the other, and colours between
    are many. `looks`: their share."""

    taught: Literal["words", "blocks", "pages"]
    steps: int
    size: int
    rows: int = ROWS
    inks: Literal["own", "inverted", "any"] = "own"
    looks: float = 0.0
    rate: tuple[float, float] = (1.0, 1.0)  # of learning, at its start and at its end
    decay: float = 0.0  # of matrices' weights


STAGES = (
    Stage("words", 100, 96, rows=1, inks="inverted"),
    Stage("words", 150, 96, rows=1, inks="any", looks=0.3),
    Stage("words", 550, 64, rows=2, inks="any", looks=0.6),
    Stage("blocks", 50, 48, rows=1, looks=0.2),
    Stage("blocks", 150, 32, rows=2, looks=0.5),
    Stage("pages", 50, 32, looks=0.3, rate=(1.0, 0.8)),
    Stage("pages", 800, 32, looks=0.7, rate=(0.8, 0.0), decay=0.1),
)
TOTAL = sum(stage.steps for stage in STAGES)


def stage_of(step: int) -> tuple[Stage, float]:
    """The stage of a step and the share of it that is done."""
    return stage_at(STAGES, step)


def inked(picture: np.ndarray, inks: str, rng: random.Random) -> np.ndarray:
    """The picture, or, half of the time, with other colours: each channel between two values of its own."""
    if inks == "own" or rng.random() >= 0.5:
        return picture
    if inks == "inverted":
        return 255 - picture
    strength = rng.random()
    low = np.array([strength * rng.random() for _ in range(3)])
    high = np.array([1 - strength * rng.random() for _ in range(3)])
    return (255 * low + (high - low) * picture).astype(np.uint8)


def captured(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """The picture as another renderer or scaler might have left it: moved by up to 1.5 pixels, up to 3% larger or
    smaller, a little blurred or sharpened, in other contrast, with noise."""
    height, width = picture.shape[:2]
    scale = rng.uniform(0.97, 1.03)
    move = [rng.uniform(-1.5, 1.5) + (1 - scale) * size / 2 for size in (width, height)]
    matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
    found = cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    found = found.astype(np.float32)
    soft = cv2.GaussianBlur(found, (0, 0), 0.8)
    found = found + rng.uniform(-0.6, 0.6) * (soft - found)
    strength = rng.uniform(0.85, 1.1)
    found = found * strength + (128 * (1 - strength) + rng.uniform(-10, 10))
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(found.shape[:2], dtype=np.float32)
    found += rng.uniform(0, 4) * noise[..., None]
    return np.clip(found, 0, 255).astype(np.uint8)


class Pages:
    """A course over the blocks of one file."""

    every = 500

    def __init__(self, blocks: Blocks, seed: int) -> None:
        self.blocks, self.seed = blocks, seed

    def batch(self, step: int) -> list[tuple[Page, np.ndarray]]:
        """Pages, or what fills some rows of one, with their pictures."""
        rng = random.Random(f"{self.seed}/batch/{step}")
        stage, _ = stage_of(step)
        found = []
        for _ in range(stage.size):
            look = rng.choice(self.blocks.looks) if rng.random() < stage.looks else 0
            whole = stage.taught == "pages"
            drawn = self.blocks.stacked(rng.choice(LEVELS), look, rng) if whole else None
            shown, picture = drawn or self.blocks.filled(stage.rows, look, rng)
            picture = inked(picture, stage.inks, rng)
            # looks alone: plain pages are met as they are drawn
            found.append((shown, captured(picture, rng) if look and rng.random() < CAPTURED else picture))
        return found

    def loss(self, teacher: Teacher, step: int) -> tuple[Tensor, int]:
        stage, batch = stage_of(step)[0], self.batch(step)
        if stage.taught == "words":
            shown, pictures = zip(*batch, strict=True)
            loss, _ = page_words.loss(teacher, [p.blocks for p in shown], np.stack(pictures))
            return loss, stage.size * stage.rows * page_words.COLUMNS
        return teacher.loss([_sample(n, *drawn, stage) for n, drawn in enumerate(batch)])

    def rate(self, step: int) -> tuple[float, float]:
        stage, done = stage_of(step)
        rate = stage.rate[0] + (stage.rate[1] - stage.rate[0]) * done
        return rate * min(1.0, (step + 1) / WARM_UP), stage.decay

    def held_out(self, teacher: Teacher, step: int) -> dict[str, Any]:
        """By level and look, teacher-forced: shares of words, colours and other tokens that come first, and of pages of
        which all do. Before pages are taught: of plain pages that fill as many rows as are."""
        stage, _ = stage_of(step - 1)
        sets: dict[str, list[tuple[Page, np.ndarray]]] = defaultdict(list)
        for picture, (found, level, look) in zip(self.blocks.heldout, self.blocks.pages, strict=True):
            if stage.taught == "pages":
                sets[f"{level}/{look}"].append((found, picture))
            elif found.rows == stage.rows and look == "plain":
                sets[f"{stage.rows} rows"].append((found, picture[: stage.rows * HEIGHT]))
        return {name: self._read(teacher, members[:HELD_OUT], stage) for name, members in sets.items()}

    @torch.no_grad()
    def _read(self, teacher: Teacher, members: list[tuple[Page, np.ndarray]], stage: Stage) -> dict[str, float]:
        hits: dict[str, list[float]] = defaultdict(list)
        if stage.taught == "words":
            stack = np.stack([picture for _, picture in members])
            hits["word"] = page_words.loss(teacher, [p.blocks for p, _ in members], stack)[1].tolist()
        else:
            for target, score in teacher.scores([_sample(n, *drawn, stage) for n, drawn in enumerate(members)]):
                right = (score > math.log(0.5)).tolist()
                hits["all"].append(all(right))
                for token, first in zip(target.tolist(), right, strict=True):
                    text = teacher.codec.decode([token])
                    hits[next((name for name, known in KNOWN.items() if text in known), "other")].append(first)
        return {name: round(sum(found) / len(found), 3) for name, found in hits.items()}


def _sample(number: int, found: Page, picture: np.ndarray, stage: Stage) -> Sample:
    return Sample(str(number), picture, found.answer if stage.taught == "pages" else found.body)
