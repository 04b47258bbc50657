"""What is under way, how long one more would wait, and who is stuck."""

import asyncio

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
        assert seen.expected()["render"] >= 20, "a part that gets nothing done lets nobody in"
    assert seen.expected() == {} and seen.room(0.0)


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
