"""RolloutActor: plays groups of episodes, many at a time, and hands each to the queue where it ends.

Guarantees: each of the G members of an admitted group resolves exactly once, as a trajectory or as void with a reason;
a request that meets an outage is made again, then the member is void: an outage never becomes a reward; an exception
that no one foresaw makes it void at once (`actors.rollout.unforeseen`); one slow member delays its own group and
nothing else, and only until `rollout.trajectory_s`. No group begins while engine, renderer or judge would let a request
wait longer than `rollout.max_wait_s`: what cannot be played soon is not admitted, so it does not age.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from actors.contracts import Domain, Judge, Outage, Policy, Renderer, Verdict
from actors.dialogue import Codec
from actors.images import read_image
from actors.replay.ledger import Ticket
from actors.rollout.episode import Environment, Opening, Rules, deadline, episode, first_turn
from actors.rollout.own_reward import OwnReward
from actors.rollout.retries import retried
from actors.rollout.tournament import ranked
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
    pairwise = config.judge.mode == "pairwise"
    return Rules(config.data.domain, rollout, config.sampling, config.feedback, config.reward, pairwise)


def served_at_once(config: Config) -> dict[str, float]:
    """Requests that engine, renderer and judge serve at one time for one of the rollout actors."""
    render = config.renderers
    places = {
        "engine": config.engine.replicas * config.engine.max_num_seqs,
        "render": render.max_replicas * render.concurrency,
        "judge": config.judge.max_replicas * config.judge.concurrency,
    }
    return {part: count / config.rollout.actors for part, count in places.items()}


async def play_member(
    image: bytes,
    env: Environment,
    rules: Rules,
    session: str,
    unforeseen: Unforeseen | None = None,
    opening: Opening | None = None,
    silent: bool = False,
) -> Trajectory | str:
    """One member: its trajectory, or why it is void: an outage although each request was made `rollout.retries` times
    again, or an exception that no one foresaw, which `unforeseen` counts."""
    SESSION.set(session)  # of this task alone: members are played by tasks of their own
    try:
        return await episode(image, retried(env, rules.rollout.retries), rules, session, opening, silent)
    except Outage as outage:
        return (unforeseen or Unforeseen()).outage(outage)
    except Exception as error:
        return (unforeseen or Unforeseen()).note(error, session)


async def play_group(
    ticket: Ticket,
    image: bytes,
    env: Environment,
    rules: Rules,
    unforeseen: Unforeseen | None = None,
    seed: int = 0,
    own: OwnReward | None = None,
) -> tuple[list[str], Group]:
    """All members at once and under one prompt; one outcome each and the group of the survivors.

    With `rollout.share_first` a first turn that calls the tool is sampled once and all members go on from it: their
    rewards compare repairs alone. The last of them gets empty feedback, as a control that is never trained on."""
    size = rules.rollout.group_size
    if random.Random(f"{seed}/{ticket.group}").random() < rules.rollout.direct_share:
        rules = replace(rules, rollout=replace(rules.rollout, single_turn=True))
    opening = None
    if rules.rollout.share_first and not rules.rollout.single_turn:
        session = f"{ticket.group}.first"
        try:
            opening = await first_turn(image, retried(env, rules.rollout.retries), rules, session)
        except Outage as outage:
            return [(unforeseen or Unforeseen()).outage(outage)] * size, Group(ticket.group, ticket.prompt, ())
        except Exception as error:
            why = (unforeseen or Unforeseen()).note(error, session)
            return [why] * size, Group(ticket.group, ticket.prompt, ())
    sessions = [f"{ticket.group}.{member}" for member in range(size)]
    silent = [opening is not None and member == size - 1 for member in range(size)]
    results = await asyncio.gather(
        *(
            play_member(image, env, rules, session, unforeseen, opening, quiet)
            for session, quiet in zip(sessions, silent, strict=True)
        )
    )
    members = ["done" if isinstance(r, Trajectory) else r for r in results]
    survivors = [r for r in results if isinstance(r, Trajectory)]
    if rules.pairwise:
        ranking = await _rank(ticket, image, survivors, env, rules, unforeseen, shared=opening is not None)
        if isinstance(ranking, str):  # the members ended well, but nobody can say how they compare
            return [ranking if m == "done" else m for m in members], Group(ticket.group, ticket.prompt, ())
        survivors = ranking
    if own is not None:
        paid = [await _paid(played, own, unforeseen) for played in survivors]
        outcomes = iter("done" if isinstance(p, Trajectory) else p for p in paid)
        members = [next(outcomes) if m == "done" else m for m in members]
        survivors = [p for p in paid if isinstance(p, Trajectory)]
    return members, Group(ticket.group, ticket.prompt, tuple(survivors))


async def _paid(played: Trajectory, own: OwnReward, unforeseen: Unforeseen | None) -> Trajectory | str:
    """The trajectory with the user's own reward, or why it has none."""
    try:
        return await own.of(played)
    except Outage as outage:
        return (unforeseen or Unforeseen()).outage(outage)


async def _rank(
    ticket: Ticket,
    image: bytes,
    survivors: list[Trajectory],
    env: Environment,
    rules: Rules,
    unforeseen: Unforeseen | None,
    *,
    shared: bool,
) -> list[Trajectory] | str:
    """The survivors with rewards by win rate, or why their tournament has no result."""
    session = f"{ticket.group}.tournament"
    token = SESSION.set(session)
    judge = retried(env, rules.rollout.retries).judge
    try:
        async with deadline(rules, session):
            return await ranked(image, survivors, judge, rules.domain, rules.reward, shared=shared)
    except Outage as outage:
        return (unforeseen or Unforeseen()).outage(outage)
    except Exception as error:
        return (unforeseen or Unforeseen()).note(error, session)
    finally:
        SESSION.reset(token)


@dataclass(frozen=True)
class Against:
    """A judge that is shown another target than the policy sees: the control `reward.exchanged`."""

    inner: Judge
    target: bytes

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        return await self.inner.compare(self.target, render, domain)

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        return await self.inner.prefer(self.target, first, second, domain)


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
        """`record` gets every group once the queue has it, in a thread, one at a time; it must not raise."""
        self._name = name
        self._record = record
        self._recording = asyncio.Lock()
        self._config = config
        self._queue = queue
        self._waits = Waits(served_at_once(config))
        self._policy: Any = policy  # a PolicyClient where engines can join
        self._env = watched(Environment(policy, renderer, judge, Codec.load(model, config.prompts)), self._waits)
        self._rules = rules_of(config)
        self._own = OwnReward(config.reward) if config.reward.function else None
        self._unforeseen = Unforeseen()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to play; what an earlier life of this actor had under way is given up first."""
        async with asyncio.timeout(QUEUE_S):
            await self._queue.lose.remote(self._name, "rollout actor restarted")
        self._tasks = [asyncio.create_task(self._slot(n)) for n in range(self._config.rollout.concurrency)]

    async def join(self, engine: Any) -> None:
        """Sessions go to this engine as well."""
        self._policy.join(engine)

    async def check(self) -> list[str]:
        """What is stuck, one line each. Raises what ended a slot, if one has ended, and TooManyErrors."""
        self._unforeseen.check()
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [*self._unforeseen.lines(), *self._waits.stuck(self._config.rollout.stuck_s)]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._own is not None:
            await self._own.close()

    async def _slot(self, number: int) -> None:
        """Play one group after the other, for as long as the queue admits."""
        while True:
            if not self._waits.room(self._config.rollout.max_wait_s):
                await asyncio.sleep(ROOM_S)
                continue
            async with asyncio.timeout(QUEUE_S):  # wait_for loses a cancellation that comes with the answer
                ticket = await self._queue.admit.remote(f"{self._name}/{number}")
            if ticket is None:
                continue
            began = time.time()
            env, limit = self._env, self._config.data.max_pixels
            try:
                image = read_image(ticket.image, limit)
                if ticket.target:
                    env = replace(env, judge=Against(env.judge, read_image(ticket.target, limit)))
            except (ValueError, OSError) as error:  # it was readable when the run began
                outcome = self._unforeseen.note(error, ticket.image)
                image, members = b"", [outcome] * self._rules.rollout.group_size
                group = Group(ticket.group, ticket.prompt, ())
            else:
                seed = self._config.run.seed
                members, group = await play_group(ticket, image, env, self._rules, self._unforeseen, seed, self._own)
            self._unforeseen.played(members)
            async with asyncio.timeout(QUEUE_S):
                state = await self._queue.put.remote(ticket, members, group)
            if self._record is not None and image:
                await self._keep(self._record, group, image, members, state, began)

    async def _keep(self, record: Record, *played: Any) -> None:
        """Records are by the way: a disk that does not answer ends them, not the rollouts."""
        try:
            async with asyncio.timeout(RECORD_S), self._recording:
                await asyncio.to_thread(record, *played)
        except TimeoutError:
            self._record = None
            log.error("no more trajectories are recorded: the disk did not answer within %g s", RECORD_S)


RolloutActor = ray.remote(Rollouts)
