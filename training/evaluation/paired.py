"""Differences between arms over seeds and pictures, with their intervals.

Guarantees: an interval is a percentile bootstrap in which seeds and pictures are drawn anew each time (Owen 2007, the
pigeonhole bootstrap), so it covers both another training and other pictures; every arm is compared on the same pictures
and the same seeds; the same figures give the same interval.
"""

from collections.abc import Sequence

import numpy as np

DRAWS = 2000


def difference(arm: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean of arm - other and its 95% interval. Both are (seeds, pictures); one with a single row, such as a base that
    all seeds share, is compared with every seed."""
    gaps = np.asarray(arm, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    seeds, pictures = gaps.shape
    rng = np.random.default_rng(0)
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        some = gaps[rng.integers(0, seeds, seeds)]
        means[draw] = some[:, rng.integers(0, pictures, pictures)].mean()
    low, high = np.quantile(means, (0.025, 0.975))
    return float(gaps.mean()), float(low), float(high)
