"""RolloutActor: plays groups of episodes, many at a time, and hands each to the queue where it ends.

Guarantees: each of the G members of an admitted group resolves exactly once, as a trajectory or as void with a reason;
an outage is retried with backoff and then makes the member void, it never becomes a reward; an exception that no one
foresaw makes it void at once (`actors.rollout.unforeseen`); one slow member delays its own group and nothing else,
and only until `rollout.trajectory_s`. No group begins while engine, renderer or judge would let a request wait longer
than `rollout.max_wait_s`: what cannot be played soon is not admitted, so it does not age.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray

from actors.contracts import Judge, Outage, Policy, Renderer
from actors.dialogue import Codec
from actors.images import read_image
from actors.replay.ledger import Ticket
from actors.rollout.episode import Environment, Rules, episode
from actors.rollout.unforeseen import Unforeseen
from actors.rollout.waits import SESSION, Waits, watched
from actors.trajectory import Group, Trajectory
from configs.schema import Config

log = logging.getLogger(__name__)
ROOM_S = 0.2  # between two looks at whether there is room for a group
Record = Callable[[Group, bytes, Sequence[str], str | None, float], None]
RECORD_S = 30.0  # deadline of one group's record
QUEUE_S = 60.0  # deadline of one call to the queue; admission itself answers within 5 s


def rules_of(config: Config, *, single_turn: bool | None = None) -> Rules:
    """How episodes of this run are played."""
    rollout = config.rollout if single_turn is None else replace(config.rollout, single_turn=single_turn)
    return Rules(config.data.domain, rollout, config.sampling, config.feedback, config.reward)  # type: ignore[arg-type]


async def play_member(
    image: bytes, env: Environment, rules: Rules, session: str, unforeseen: Unforeseen | None = None
) -> Trajectory | str:
    """One member: its trajectory, or why it is void: an outage after `rollout.retries` further tries, or, told to
    `unforeseen`, an exception that no one foresaw."""
    reason = ""
    SESSION.set(session)  # of this task alone: members are played by tasks of their own
    for attempt in range(rules.rollout.retries + 1):
        try:
            return await episode(image, env, rules, f"{session}.{attempt}")
        except Outage as outage:
            reason = outage.part
            await asyncio.sleep(min(10.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.5))
        except Exception as error:
            return (unforeseen or Unforeseen()).note(error, session)
    return reason


async def play_group(
    ticket: Ticket, image: bytes, env: Environment, rules: Rules, unforeseen: Unforeseen | None = None
) -> tuple[list[str], Group]:
    """All members at once and under one prompt; one outcome each and the group of the survivors."""
    size = rules.rollout.group_size
    if random.Random(ticket.group).random() < rules.rollout.direct_share:
        rules = replace(rules, rollout=replace(rules.rollout, single_turn=True))
    sessions = [f"{ticket.group}.{member}" for member in range(size)]
    results = await asyncio.gather(*(play_member(image, env, rules, s, unforeseen) for s in sessions))
    members = ["done" if isinstance(r, Trajectory) else r for r in results]
    survivors = tuple(r for r in results if isinstance(r, Trajectory))
    return members, Group(ticket.group, ticket.prompt, survivors)


class Rollouts:
    """One event loop full of episodes; `RolloutActor` is this class as a Ray actor."""

    def __init__(
        self,
        name: str,
        config: Config,
        model: str,
        queue: Any,
        policy: Policy,
        renderer: Renderer,
        judge: Judge,
        record: Record | None = None,
    ) -> None:
        """`record` is told of every group once the queue has it, in a thread, one at a time; it must not raise."""
        self._name = name
        self._record = record
        self._recording = asyncio.Lock()
        self._config = config
        self._queue = queue
        self._waits = Waits()
        self._env = watched(Environment(policy, renderer, judge, Codec.load(model, config.prompts)), self._waits)
        self._rules = rules_of(config)
        self._unforeseen = Unforeseen()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to play; what an earlier life of this actor had under way is given up first."""
        await asyncio.wait_for(self._queue.lose.remote(self._name, "rollout actor restarted"), QUEUE_S)
        self._tasks = [asyncio.create_task(self._slot(n)) for n in range(self._config.rollout.concurrency)]

    async def check(self) -> list[str]:
        """What is stuck, one line each. Raises what ended a slot, if one has ended, and TooManyErrors."""
        self._unforeseen.check()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return self._waits.stuck(self._config.rollout.stuck_s)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _slot(self, number: int) -> None:
        """Play one group after the other, for as long as the queue admits."""
        while True:
            if not self._waits.room(self._config.rollout.max_wait_s):
                await asyncio.sleep(ROOM_S)
                continue
            ticket = await asyncio.wait_for(self._queue.admit.remote(f"{self._name}/{number}"), QUEUE_S)
            if ticket is None:
                continue
            began = time.time()
            try:
                image = read_image(ticket.image, self._config.data.max_pixels)
            except (ValueError, OSError) as error:  # it was readable when the run began
                outcome = self._unforeseen.note(error, ticket.image)
                image, members = b"", [outcome] * self._rules.rollout.group_size
                group = Group(ticket.group, ticket.prompt, ())
            else:
                members, group = await play_group(ticket, image, self._env, self._rules, self._unforeseen)
            self._unforeseen.played(members)
            state = await asyncio.wait_for(self._queue.put.remote(ticket, members, group), QUEUE_S)
            if self._record is not None and image:
                await self._keep(self._record, group, image, members, state, began)

    async def _keep(self, record: Record, *played: Any) -> None:
        """Records are by the way: a disk that does not answer ends them, not the playing."""
        try:
            async with asyncio.timeout(RECORD_S), self._recording:
                await asyncio.to_thread(record, *played)
        except TimeoutError:
            self._record = None
            log.error("no more trajectories are recorded: the disk did not answer within %g s", RECORD_S)


RolloutActor = ray.remote(Rollouts)
