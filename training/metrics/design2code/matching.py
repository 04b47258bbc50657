"""Which text blocks of two pages belong together, by Design2Code's rules (arXiv 2403.03163 and its repository).

Guarantees: neighbours are merged as there, round by round: first the prediction's, then the reference's, every merge at
once that improves the mean cost of what it changes by more than GAIN and touches none better, until neither side
changes. Ties are broken as there: predictions are rows, and ratios are taken from prediction to reference. Nothing is
computed twice, so that a round costs a few assignments a block and not a comparison of all texts for each.
"""

import difflib
import functools
import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from training.metrics.design2code.blocks import Block

GAIN, BONUS, LEAST = 0.05, 0.1, 0.5

Matrix = NDArray[np.float64]


@functools.lru_cache(2**18)
def ratio(predicted: str, reference: str) -> float:
    return difflib.SequenceMatcher(None, predicted, reference).ratio()


def costs(predicted: list[Block], reference: list[Block]) -> Matrix:
    """[predicted, reference] of -1..0."""
    found = [[-ratio(a.text, b.text) for b in reference] for a in predicted]
    return np.array(found).reshape(len(predicted), len(reference))


def assigned(matrix: Matrix) -> list[float]:
    """Costs of the best assignment."""
    return matrix[linear_sum_assignment(matrix)].tolist()


def joined(a: Block, b: Block) -> Block:
    """Two neighbours as one block."""
    left, top = min(a.box[0], b.box[0]), min(a.box[1], b.box[1])
    right, bottom = (max(a.box[i] + a.box[i + 2], b.box[i] + b.box[i + 2]) for i in (0, 1))
    colour = tuple(float((x + y) // 2) for x, y in zip(a.colour, b.colour, strict=True))
    return Block(f"{a.text} {b.text}", (left, top, right - left, bottom - top), colour)  # type: ignore[arg-type]


def improvement(before: list[float], after: list[float]) -> float:
    """By how much the mean of the costs that changed falls; 0 where it falls and the best of them does not."""
    gone, new = (list((Counter(x) - Counter(y)).elements()) for x, y in ((before, after), (after, before)))
    gain = (sum(gone) / len(gone) if gone else 0.0) - (sum(new) / len(new) if new else 0.0)
    return 0.0 if gain > 0 and not min(gone) > min(new, default=math.inf) else gain


def merge_round(blocks: list[Block], others: list[Block], matrix: Matrix, rows: bool) -> tuple[list[Block], Matrix]:
    """One side after a round: `blocks`, which are the rows of `matrix` or its columns, and the matrix of both."""
    before = assigned(matrix)
    merges = []
    for i in range(len(blocks) - 1):
        pair = joined(blocks[i], blocks[i + 1])
        if rows:
            way = np.vstack([matrix[:i], costs([pair], others), matrix[i + 2 :]])
        else:
            way = np.hstack([matrix[:, :i], costs(others, [pair]), matrix[:, i + 2 :]])
        gain = improvement(before, assigned(way))
        if gain > GAIN:
            merges.append((i, gain, pair))
    kept: dict[int, Block] = {}
    for i, _, pair in sorted(merges, key=lambda merge: -merge[1]):
        if not {i - 1, i, i + 1} & kept.keys():
            kept[i] = pair
    if not kept:
        return blocks, matrix
    found = [kept.get(i, block) for i, block in enumerate(blocks) if i - 1 not in kept]
    return found, costs(found, others) if rows else costs(others, found)


def merge(predicted: list[Block], reference: list[Block]) -> tuple[list[Block], list[Block], Matrix]:
    """Both sides after all rounds, and their costs."""
    matrix = costs(predicted, reference)
    while True:
        sizes = matrix.shape
        predicted, matrix = merge_round(predicted, reference, matrix, rows=True)
        reference, matrix = merge_round(reference, predicted, matrix, rows=False)
        if matrix.shape == sizes:
            return predicted, reference, matrix


def bonuses(matrix: Matrix) -> Matrix:
    """What each pair that is alike gains from the two best of the up to eight pairs beside it."""
    found = np.zeros_like(matrix)
    for i, j in zip(*np.nonzero(matrix < -LEAST), strict=True):
        around = np.sort(matrix[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2].ravel())[::-1]
        others = np.delete(around, np.flatnonzero(around == matrix[i, j])[0])
        found[i, j] = BONUS * others[-2:].sum()
    return found


def match(
    predicted: list[Block], reference: list[Block]
) -> tuple[list[Block], list[Block], list[tuple[int, int, float]]]:
    """Both sides after merging, and the pairs that are alike, with the ratio of their texts."""
    if not predicted or not reference:
        return predicted, reference, []
    predicted, reference, matrix = merge(predicted, reference)
    pairs = zip(*linear_sum_assignment(matrix + bonuses(matrix)), strict=True)
    alike = [(int(i), int(j), -float(matrix[i, j])) for i, j in pairs if -matrix[i, j] >= LEAST]
    return predicted, reference, alike
