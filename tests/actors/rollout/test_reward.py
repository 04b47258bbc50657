"""The hybrid reward, by hand, and the ways it must not be fooled."""

import logging
from dataclasses import replace

import pytest

from actors.contracts import RenderResult, Verdict
from actors.rollout.reward import reward
from actors.trajectory import Turn
from configs.schema import RewardWeights

PAPER = RewardWeights()


def turn(kind: str, png: bytes | None, score: float = 0.0) -> Turn:
    render = RenderResult(True, 0.1, png, (2, 2)) if png is not None else RenderResult(False, 0.1, kind="exception")
    verdict = Verdict(score, "", "test") if png is not None else None
    return Turn("", kind, "code", render, verdict, 5, (0.0, 0.0, 0.0))  # type: ignore[arg-type]


def test_one_call_and_an_answer() -> None:
    found = reward([turn("tool_call", b"a", 0.4), turn("answer", b"b", 0.6)], "answer", PAPER)
    assert (found.vision, found.format, found.tool) == (0.6, 1.0, pytest.approx(1 / 3))
    assert found.total == pytest.approx(0.8 * 0.6 + 0.2 + 1 / 3)


def test_an_answer_that_does_not_run_is_penalised() -> None:
    found = reward([turn("answer", None)], "answer", PAPER)
    assert found.total == pytest.approx(-0.2)


def test_a_hit_above_the_threshold_needs_no_tool() -> None:
    assert reward([turn("answer", b"a", 0.951)], "answer", PAPER).tool == 1.0
    assert reward([turn("answer", b"a", 0.95)], "answer", PAPER).tool == 0.0


def test_stopping_at_the_last_turn_is_no_answer() -> None:
    found = reward([turn("tool_call", b"a", 0.5)] * 4, "last_turn", PAPER)
    assert (found.vision, found.format) == (0.5, -1.0)


def test_malformed_and_empty_trajectories_get_no_similarity() -> None:
    malformed = replace(turn("malformed", None), code=None, render=None)
    assert reward([turn("tool_call", b"a", 0.9), malformed], "malformed", PAPER).vision == 0.0
    assert reward([], "length", PAPER).total == pytest.approx(-0.2)


@pytest.mark.parametrize("gate", [True, False])
def test_repeated_and_blank_calls_earn_nothing_behind_the_gate(gate: bool) -> None:
    calls = [turn("tool_call", b"same", 0.3), turn("tool_call", b"same", 0.3), turn("tool_call", b"blank", 0.0)]
    found = reward([*calls, turn("answer", b"end", 0.3)], "answer", replace(PAPER, tool_gate=gate))
    assert found.tool == pytest.approx(1 / 3 if gate else 1.0)


def test_a_failed_call_earns_nothing() -> None:
    assert reward([turn("tool_call", None), turn("answer", b"a", 0.3)], "answer", PAPER).tool == 0.0


def test_three_calls_are_the_most_that_pays() -> None:
    calls = [turn("tool_call", bytes([i]), 0.3) for i in range(5)]
    assert reward([*calls, turn("answer", b"z", 0.3)], "answer", PAPER).tool == 1.0


def test_the_printed_weights_are_kept_for_the_record(caplog: pytest.LogCaptureFixture) -> None:
    literal = replace(PAPER, preset="paper_literal")
    with caplog.at_level(logging.WARNING):
        better = reward([turn("answer", b"a", 0.9)], "answer", literal)
        worse = reward([turn("answer", b"a", 0.1)], "answer", literal)
    assert better.total < worse.total
    assert "reward LESS similarity" in caplog.text
