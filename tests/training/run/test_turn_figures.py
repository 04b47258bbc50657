"""What turns bring, by hand."""

import math
from dataclasses import replace

import pytest

from actors.contracts import Verdict
from actors.trajectory import Trajectory
from tests.training import tiny
from training.run.turn_figures import turn_figures


def played(*scores: float | None, control: bool = False, code: str = "") -> Trajectory:
    """Calls and a last answer with these similarities; None does not run."""
    [group] = tiny.groups(1, 1)
    turns = []
    for n, score in enumerate(scores):
        made = tiny.turn(score is not None, "answer" if n == len(scores) - 1 else "tool_call")
        verdict = None if score is None else Verdict(score, "", "test")
        turns.append(replace(made, verdict=verdict, code=code or f"program {n}"))
    return replace(group.trajectories[0], turns=tuple(turns), control=control)


def test_a_program_gains_over_the_best_before_it() -> None:
    found = turn_figures([played(0.5, 0.3, 0.6), played(None, 0.4), played(0.7), played(0.5, 0.2, control=True)])
    assert found["calls"] == pytest.approx((2 + 1 + 0) / 3)
    assert found["first_similarity"] == pytest.approx((0.5 + 0.0 + 0.7) / 3)
    assert found["call_gain"] == pytest.approx((-0.2 + 0.1 + 0.4) / 3)
    assert found["calls_improve"] == pytest.approx(2 / 3)
    assert found["control_gain"] == pytest.approx(-0.3)
    assert found["calls_repeat"] == 0.0


def test_a_copy_is_seen_and_what_nobody_did_is_no_zero() -> None:
    assert turn_figures([played(0.5, 0.5, code="same")])["calls_repeat"] == 1.0
    alone = turn_figures([played(0.5)])
    assert alone["calls"] == 0 and math.isnan(alone["call_gain"]) and math.isnan(alone["control_gain"])
