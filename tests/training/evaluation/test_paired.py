"""Intervals over seeds and pictures: what they cover, and what they do not."""

import numpy as np
import pytest

from training.evaluation.paired import difference


def test_a_constant_gap_has_no_width() -> None:
    arm = np.arange(12.0).reshape(3, 4)
    assert difference(arm.tolist(), (arm - 0.5).tolist()) == (0.5, 0.5, 0.5)


def test_a_base_that_all_seeds_share_is_compared_with_each() -> None:
    mean, low, high = difference([[1.0, 0.0], [1.0, 1.0]], [[0.0, 0.0]])
    assert mean == 0.75 and low <= 0.5 and high == 1.0


def test_the_interval_covers_seeds_as_well_as_pictures() -> None:
    """Seeds that differ by .2 and pictures that do not: an interval over pictures alone would have no width."""
    gaps = np.repeat([[0.1], [0.3], [0.5]], 200, axis=1)
    _, low, high = difference(gaps.tolist(), np.zeros_like(gaps).tolist())
    assert low < 0.17 and high > 0.43


def test_the_width_is_that_of_the_mean() -> None:
    gaps = np.random.default_rng(1).normal(0, 1, (1, 400))
    _, low, high = difference(gaps.tolist(), np.zeros_like(gaps).tolist())
    assert high - low == pytest.approx(2 * 1.96 * gaps.std() / 20, rel=0.1)
