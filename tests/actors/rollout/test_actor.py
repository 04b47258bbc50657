"""What stands beside the rollouts must not hold it up."""

import asyncio
import time
from collections.abc import Awaitable

import pytest

from actors.rollout import actor
from actors.rollout.actor import Rollouts
from actors.rollout.waits import Waits
from configs.schema import Config


async def test_a_disk_that_does_not_answer_ends_the_record_and_not_the_rollouts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(actor, "RECORD_S", 0.1)
    player = Rollouts.__new__(Rollouts)
    player._recording = asyncio.Lock()

    def stuck(*played: object) -> None:
        time.sleep(1)

    player._record = stuck
    await asyncio.wait_for(player._keep(stuck, "group"), 0.8)
    assert player._record is None and "did not answer within 0.1 s" in caplog.text


class Admits:
    """A queue whose answer to the first request comes when the test says so; nobody is let in later."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.admit = self
        self.asked = 0

    def remote(self, who: str) -> Awaitable[None]:
        self.asked += 1
        return self.answer if self.asked == 1 else asyncio.sleep(5)


async def test_a_slot_that_is_stopped_as_the_queue_answers_ends() -> None:
    player = Rollouts.__new__(Rollouts)
    player._name, player._config, player._waits, player._queue = "r", Config(), Waits(), Admits()
    player._own = None
    player._tasks = [asyncio.create_task(player._slot(0))]
    await asyncio.sleep(0.01)
    player._queue.answer.set_result(None)  # and the slot has not seen it
    async with asyncio.timeout(20):
        await player.stop()
    assert player._queue.asked == 1
