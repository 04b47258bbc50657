"""What is under way, how long one more would wait, and who is stuck."""

import asyncio
import contextlib

import pytest

from actors.contracts import Outage
from actors.rollout import waits
from actors.rollout.waits import SESSION, Waits


class Clock:
    """Time that the test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(waits.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_expected_wait_is_what_is_under_way_over_what_gets_done(clock: Clock) -> None:
    seen = Waits()
    for _ in range(11):  # one a second
        with seen.at("render"):
            clock.now += 1
    with seen.at("render"), seen.at("render"), seen.at("render"):
        assert seen.expected() == {"render": pytest.approx(3.0)}
        assert seen.room(3.1) and not seen.room(2.9)
        clock.now += 20
        assert seen.expected()["render"] >= 19, "a part that gets nothing done lets nobody in"
    assert seen.expected() == {} and seen.room(0.0)


@pytest.mark.parametrize("turn_s", [5, 45, 60])
async def test_long_turns_are_no_queue_but_a_queue_is(clock: Clock, turn_s: int) -> None:
    """128 members at an engine that takes them all at once, however long a turn is; and at one that takes half."""
    for at_once, room in ((128, True), (64, turn_s < 30)):
        seen = Waits({"engine": at_once})
        ends: list[float] = [clock.now + turn_s * n / at_once for n in range(at_once)]  # a steady state
        with contextlib.ExitStack() as waiting:
            for _ in range(128 - at_once):
                waiting.enter_context(seen.at("engine"))
            turns = [seen.at("engine") for _ in range(at_once)]
            for turn in turns:
                turn.__enter__()
            for _ in range(2 * at_once):  # the oldest ends, another begins
                clock.now = max(clock.now, ends.pop(0))
                turns.pop(0).__exit__(None, None, None)
                ends.append(clock.now + turn_s)
                turns.append(seen.at("engine"))
                turns[-1].__enter__()
            assert seen.room(30.0) is room, seen.expected()
            clock.now += 2 * turn_s + 31
            assert not seen.room(30.0), "an engine that stands still lets nobody in"
            for turn in turns:
                turn.__exit__(None, None, None)


def test_a_part_that_never_answered_counts_from_its_first_request(clock: Clock) -> None:
    seen = Waits()
    with seen.at("judge"):
        clock.now += 9
        assert seen.expected() == {"judge": 9}


async def test_the_stuck_are_named_and_a_failure_ends_a_wait(clock: Clock) -> None:
    seen = Waits()

    async def member(name: str) -> None:
        SESSION.set(name)
        with pytest.raises(Outage), seen.at("judge"):
            await asyncio.sleep(0.05)
            raise Outage("judge", "gone")

    tasks = [asyncio.create_task(member(f"7.{m}")) for m in range(2)]
    await asyncio.sleep(0)
    clock.now += 61
    assert sorted(seen.stuck(60)) == [f"7.{m} has waited 61 s for the judge" for m in range(2)]
    await asyncio.gather(*tasks)
    assert seen.stuck(0) == []
