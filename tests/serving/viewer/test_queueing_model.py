"""The queueing model against cases whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from serving.viewer.queueing_model import Demands, Layout, next_units, step_seconds, throughput

NEED = Demands(60, 0.01, 0.001, 0.2, 0.05, 1.0, 1.0, 2.0, 0.5)
HAVE = Layout(1, 2, 1, 1, 8, 8, 4, 2)


def one(n: np.ndarray) -> np.ndarray:
    return np.ones_like(n)


def test_two_equal_stations_by_the_closed_formula() -> None:
    """Balanced network of M stations of demand D without delay: X(N) = N / (D (N + M - 1))."""
    for members in (1, 2, 7, 300):
        found = throughput(members, [(0.5, one), (0.5, one)], 0.0)
        assert found == pytest.approx(members / (0.5 * (members + 1)), rel=1e-6)


def test_the_machine_repair_model() -> None:
    """One server and a delay: the finite-source queue (Erlang), computed here by its balance equations."""
    work, think, members = 0.4, 3.0, 12
    weights = [1.0]
    for inside in range(1, members + 1):
        weights.append(weights[-1] * (members - inside + 1) * work / think)
    busy = 1 - weights[0] / sum(weights)
    assert throughput(members, [(work, one)], think) == pytest.approx(busy / work, rel=1e-9)


def test_more_servers_than_members_is_a_delay() -> None:
    wide = throughput(5, [(0.4, lambda n: np.minimum(n, 9)), (1e-9, one)], 0.6)
    assert wide == pytest.approx(5 / (0.4 + 0.6), rel=1e-6)


def test_large_networks_stay_in_range() -> None:
    found = throughput(4096, [(0.01, one), (0.2, lambda n: np.minimum(n, 64))], 900.0)
    assert found == pytest.approx(4096 / 900.21, rel=0.01)
    assert throughput(4096, [(0.5, one)], 1.0) == pytest.approx(2.0, rel=1e-6)


def test_a_step_is_the_slower_side_or_both_in_turn() -> None:
    found = step_seconds(NEED, HAVE)
    assert found["step"] == max(found["rollouts"], found["learner"])
    turns = step_seconds(NEED, replace(HAVE, max_staleness=0))
    assert turns["step"] == turns["rollouts"] + turns["learner"]


def test_the_next_unit_that_helps_is_of_what_limits() -> None:
    slow_render = next_units(replace(NEED, render_s=2.0), HAVE)
    assert slow_render[0]["unit"] == "one more render process"
    assert slow_render[0]["faster"] == pytest.approx(0.5, abs=0.03)  # two servers become three
    slow_learner = next_units(replace(NEED, update_s=200.0), HAVE)
    assert slow_learner[0]["unit"] == "one more learner worker"
    assert all(row["faster"] == pytest.approx(0) for row in slow_learner[1:])
    slow_engine = next_units(replace(NEED, tokens=600.0, token_each_s=0.02), HAVE)
    assert slow_engine[0]["unit"] == "one more engine"
