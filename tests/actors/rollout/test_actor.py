"""What stands beside the rollouts must not hold it up."""

import asyncio
import time

import pytest

from actors.rollout import actor
from actors.rollout.actor import Rollouts


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
