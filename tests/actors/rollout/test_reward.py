"""The hybrid reward, by hand, and the ways it must not be fooled."""

import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.contracts import RenderResult, Verdict
from actors.rollout.reward import reward
from actors.trajectory import Turn
from configs.schema import RewardWeights

PAPER = RewardWeights()
UNGATED = RewardWeights(tool_gate=False)
scores = st.floats(0, 1, allow_subnormal=False)


def turn(kind: str, png: bytes | None, score: float = 0.0) -> Turn:
    render = RenderResult(True, 0.1, png, (2, 2)) if png is not None else RenderResult(False, 0.1, kind="exception")
    verdict = Verdict(score, "", "test") if png is not None else None
    return Turn("", kind, "code", render, verdict, 5, (0.0, 0.0, 0.0))  # type: ignore[arg-type]


def test_one_call_and_an_answer() -> None:
    turns = [turn("tool_call", b"a", 0.4), turn("answer", b"b", 0.6)]
    found = reward(turns, "answer", PAPER, shared=True)
    assert (found.vision, found.format, found.tool) == (0.6, 1.0, pytest.approx(0.6 * 0.2))
    assert found.total == pytest.approx(0.8 * 0.6 + 0.2 + 0.12)
    assert reward(turns, "answer", PAPER).tool == 0.0  # a first call of one's own could be made bad for it
    ungated = reward([turn("tool_call", b"a", 0.4), turn("answer", b"b", 0.6)], "answer", UNGATED)
    assert ungated.tool == pytest.approx(1 / 3)


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
def test_calls_without_gain_earn_nothing_behind_the_gate(gate: bool) -> None:
    calls = [turn("tool_call", b"same", 0.3), turn("tool_call", b"same", 0.3), turn("tool_call", b"blank", 0.0)]
    found = reward([*calls, turn("answer", b"end", 0.3)], "answer", replace(PAPER, tool_gate=gate))
    assert found.tool == (0.0 if gate else 1.0)


def test_a_gain_is_over_the_shared_call_whatever_comes_between() -> None:
    failed, call, end = turn("tool_call", None), turn("tool_call", b"a", 0.4), turn("answer", b"b", 0.6)
    for between in ([], [call], [call, call]):
        assert reward([failed, *between, end], "answer", PAPER, shared=True).tool == pytest.approx(0.36)
        assert reward([call, *between, end], "answer", PAPER, shared=True).tool == pytest.approx(0.12)


@given(st.lists(scores, min_size=1, max_size=5), st.lists(scores, min_size=1, max_size=5), scores)
def test_nothing_is_gained_by_having_been_bad(one: list[float], other: list[float], answer: float) -> None:
    """However a trajectory's own calls were, an equal answer earns the same."""
    paid = [
        reward([*(turn("tool_call", b"c", s) for s in calls), turn("answer", b"e", answer)], "answer", PAPER).total
        for calls in (one, other, [])
    ]
    assert len(set(paid)) == 1


def test_a_win_rate_takes_the_place_of_similarity_and_of_nothing_else() -> None:
    turns = [turn("tool_call", b"a", 0.4), turn("answer", b"b", 0.6)]
    found = reward(turns, "answer", PAPER, shared=True, win_rate=0.25)
    assert (found.vision, found.format, found.tool) == (0.25, 1.0, pytest.approx(0.12))
    assert found.total == pytest.approx(0.8 * 0.25 + 0.2 + 0.12)


def test_three_wrong_pies_and_a_wrong_answer_earn_less_than_one_good_answer() -> None:
    pies = [turn("tool_call", bytes([n]), score) for n, score in enumerate((0.33, 0.35, 0.38))]
    wrong = reward([*pies, turn("answer", b"pie", 0.38)], "answer", PAPER)
    good = reward([turn("answer", b"bars", 0.812)], "answer", PAPER)
    assert wrong.total < 0.6 < good.total


@given(st.lists(scores, max_size=5), st.floats(0, 0.5), st.floats(0.8126, 0.95))
def test_no_calls_lift_a_wrong_answer_above_a_good_one(calls: list[float], wrong: float, good: float) -> None:
    played = [turn("tool_call", bytes([n]), score) for n, score in enumerate(calls)]
    lifted = reward([*played, turn("answer", b"w", wrong)], "answer", PAPER, shared=bool(played))
    assert lifted.total < reward([turn("answer", b"g", good)], "answer", PAPER).total


def test_a_failed_call_earns_nothing() -> None:
    assert reward([turn("tool_call", None), turn("answer", b"a", 0.3)], "answer", PAPER).tool == 0.0


def test_three_calls_are_the_most_that_pays() -> None:
    calls = [turn("tool_call", bytes([i]), 0.3) for i in range(5)]
    assert reward([*calls, turn("answer", b"z", 0.3)], "answer", UNGATED).tool == 1.0


def test_the_printed_weights_are_kept_for_the_record(caplog: pytest.LogCaptureFixture) -> None:
    literal = replace(PAPER, preset="paper_literal")
    with caplog.at_level(logging.WARNING):
        better = reward([turn("answer", b"a", 0.9)], "answer", literal)
        worse = reward([turn("answer", b"a", 0.1)], "answer", literal)
    assert better.total < worse.total
    assert "reward LESS similarity" in caplog.text


def test_presets_of_peers_pay_for_improvement_and_for_text() -> None:
    strict, textual = replace(PAPER, preset="strict"), replace(PAPER, preset="textual_visual")
    better = [turn("tool_call", b"a", 0.3), turn("tool_call", None), turn("answer", b"b", 0.6)]
    worse = [turn("tool_call", b"a", 0.3), turn("tool_call", b"b", 0.2), turn("answer", b"c", 0.6)]
    copied = [turn("tool_call", b"a", 0.6), turn("answer", b"a", 0.6)]
    assert [reward(turns, "answer", strict).vision for turns in (better, worse, copied)] == [0.6, 0.3, 0.6]
    assert reward([turn("answer", b"a", 0.7)], "answer", strict).vision == 0.7
    plain = turn("answer", b"a", 0.6)
    read = replace(plain, verdict=Verdict(0.6, "", "test", sub_scores={"text": 0.2}))
    assert reward([read], "answer", textual).vision == pytest.approx(0.4)
    assert reward([plain], "answer", textual).vision == 0.6  # a judge that does not tell
    assert reward([turn("answer", None)], "answer", textual).vision == 0.0
    assert reward([read], "answer", PAPER).vision == 0.6
