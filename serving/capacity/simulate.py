"""A discrete-event simulation of a run: slots, engines, renderers, judges, queue, learner, weight sync.

Guarantees: follows the real parts' rules (admission and staleness of `actors.replay.ledger`, a session's turns on one
engine chosen by its hash, first come first served); the same plan and seed give the same figures; no wall clock.

A station serves up to `seats` requests a replica at once; n of them progress at 1 / (fixed_s + each_s n) units of work
a second each: for an engine a unit is a token (a decoding step costs a fixed part and a part for each sequence), for
renderers and judges that work on one thing at a time a unit is a second. Who finds no seat waits in order.
"""

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

WARM = 2  # first steps, which fill the pipeline
Turn = tuple[float, float, float, float]  # units of the engine, of the renderer, of the judge; seconds between
Member = tuple[Turn, ...]


@dataclass(frozen=True)
class Station:
    """`replicas` of a part."""

    replicas: int
    seats: int
    fixed_s: float = 1.0
    each_s: float = 0.0


@dataclass(frozen=True)
class Plan:
    """A layout and what it is given to do."""

    engine: Station
    render: Station
    judge: Station
    members: tuple[Member, ...]  # drawn from at random
    slots: int  # groups under way at most
    group_size: int
    groups_per_step: int
    max_staleness: int
    update_s: float  # of one batch on all learner workers
    sync_s: float = 0.0
    pause_s: float = 0.0  # of the engines, within sync_s
    useful: float = 1.0  # share of groups that have a gradient


@dataclass(frozen=True)
class Found:
    """Means of the steps after the first WARM ones."""

    step_s: float
    groups_per_s: float  # trained on
    learner_idle: float
    busy: dict[str, float]  # station -> share of the time in which a replica has a request
    filled: dict[str, float]  # station -> share of its seats
    waiting: dict[str, float]  # station -> requests without a seat
    staleness: float  # versions, of what is trained on
    stale: float  # share of groups dropped as too old
    group_s: float  # from the start of a group to its end


class Replica:
    """Processor sharing with a bounded number of seats, by a clock of work done for each request."""

    def __init__(self, kind: Station, clock: "Clock") -> None:
        self.kind, self.clock = kind, clock
        self.heap: list[tuple[float, int, Callable[[], None]]] = []  # ends, by work done
        self.queue: deque[tuple[float, Callable[[], None]]] = deque()
        self.done, self.since, self.paused = 0.0, 0.0, False
        self.busy = self.filled = self.waited = 0.0  # integrals over time
        self.epoch = 0

    def _rate(self) -> float:
        return 0.0 if self.paused else 1.0 / (self.kind.fixed_s + self.kind.each_s * len(self.heap))

    def advance(self) -> None:
        passed = self.clock.now - self.since
        if self.heap:
            self.done += passed * self._rate()
            self.busy += passed
        self.filled += passed * len(self.heap)
        self.waited += passed * len(self.queue)
        self.since = self.clock.now

    def _next(self) -> None:
        self.epoch += 1
        if self.heap and not self.paused:
            epoch, left = self.epoch, max(0.0, self.heap[0][0] - self.done)
            self.clock.after(left / self._rate(), lambda: self._end(epoch))

    def _end(self, epoch: int) -> None:
        if epoch != self.epoch:
            return
        self.advance()
        end, _, then = heapq.heappop(self.heap)
        self.done = max(self.done, end)
        if self.queue:
            self._seat(*self.queue.popleft())
        self._next()
        then()

    def _seat(self, work: float, then: Callable[[], None]) -> None:
        heapq.heappush(self.heap, (self.done + work, self.clock.number(), then))

    def serve(self, work: float, then: Callable[[], None]) -> None:
        """Call `then` when `work` units are done."""
        self.advance()
        if len(self.heap) < self.kind.seats:
            self._seat(work, then)
            self._next()
        else:
            self.queue.append((work, then))

    def pause(self, paused: bool) -> None:
        self.advance()
        self.paused = paused
        self._next()


class Clock:
    """Time, and what is to happen when."""

    def __init__(self) -> None:
        self.now, self._count = 0.0, 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def number(self) -> int:
        self._count += 1
        return self._count

    def after(self, seconds: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, self.number(), then))

    def step(self) -> bool:
        """Do the next thing; False where there is none."""
        if not self._events:
            return False
        self.now, _, then = heapq.heappop(self._events)
        then()
        return True


class System:
    """One run."""

    def __init__(self, plan: Plan, seed: int, rate: float | None) -> None:
        self.plan, self.clock, self.rng = plan, Clock(), random.Random(seed)
        kinds = {"engine": plan.engine, "render": plan.render, "judge": plan.judge}
        self.parts = {name: [Replica(kind, self.clock) for _ in range(kind.replicas)] for name, kind in kinds.items()}
        self.version, self.running, self.consumed = 0, 0, 0
        self.ready: list[tuple[int, float]] = []  # (oldest version, when)
        self.free, self.rate = plan.slots, rate
        self.dropped = self.finished = 0
        self.spent = 0.0  # seconds of finished groups
        self.ages: list[int] = []
        self.waits: Callable[[], None] | None = None  # the learner, while it has no batch

    def admit(self) -> None:
        p = self.plan
        while self.free:
            room = (p.max_staleness + self.version + 1) * p.groups_per_step
            if room - self.consumed - len(self.ready) - self.running <= 0:
                return
            self.free -= 1
            self.begin()

    def begin(self) -> None:
        self.running += 1
        left, oldest, began = [self.plan.group_size], [math.inf], self.clock.now

        def ended() -> None:
            left[0] -= 1
            if not left[0]:
                self.end_group(int(oldest[0]), began)

        def first() -> None:
            oldest[0] = min(oldest[0], self.version)

        for _ in range(self.plan.group_size):
            self.play(self.rng.choice(self.plan.members), first, ended)

    def play(self, member: Member, first: Callable[[], None], ended: Callable[[], None]) -> None:
        home = self.rng.choice(self.parts["engine"])

        def turn(number: int) -> None:
            if number == len(member):
                ended()
                return
            tokens, render, judge, gap = member[number]

            def go_on() -> None:
                turn(number + 1)

            def to_judge() -> None:
                self.part("judge", judge, go_on)

            def to_render() -> None:
                self.part("render", render, to_judge)

            def sample() -> None:
                first()
                home.serve(tokens, to_render)

            self.clock.after(gap, sample)

        turn(0)

    def part(self, name: str, work: float, then: Callable[[], None]) -> None:
        """The least loaded of two replicas, as a router with two choices picks it."""
        if work <= 0:
            then()
            return
        pair = [self.rng.choice(self.parts[name]) for _ in range(2)]
        min(pair, key=lambda r: len(r.heap) + len(r.queue)).serve(work, then)

    def end_group(self, oldest: int, began: float) -> None:
        self.running -= 1
        self.free += 1
        self.finished += 1
        self.spent += self.clock.now - began
        if self.rng.random() < self.plan.useful:
            self.ready.append((oldest, self.clock.now))
        if self.rate is None:
            self.admit()
            if self.waits is not None:
                self.waits()

    def learn(self, began: float, record: Callable[[float, float], None]) -> None:
        """Take a batch as soon as there is one, train, sync, again."""
        p = self.plan

        def take() -> None:
            fresh = [g for g in self.ready if self.version - g[0] <= p.max_staleness]
            self.dropped += len(self.ready) - len(fresh)
            self.ready = fresh
            if len(fresh) < p.groups_per_step:
                self.waits = take
                self.admit()
                return
            self.waits = None
            batch, self.ready = fresh[: p.groups_per_step], fresh[p.groups_per_step :]
            self.consumed += len(batch)
            self.ages += [self.version - oldest for oldest, _ in batch]
            waited = self.clock.now - began
            self.admit()
            self.clock.after(p.update_s, lambda: self.pause(True))
            self.clock.after(p.update_s + p.pause_s, lambda: self.pause(False))
            self.clock.after(p.update_s + max(p.sync_s, p.pause_s), lambda: published(waited))

        def published(waited: float) -> None:
            self.version += 1
            record(self.clock.now - began, waited)
            self.admit()
            self.learn(self.clock.now, record)

        take()

    def pause(self, paused: bool) -> None:
        if self.plan.pause_s:
            for replica in self.parts["engine"]:
                replica.pause(paused)


def simulate(plan: Plan, steps: int = 12, seed: int = 0) -> Found:
    """Closed loop: rollouts feed a learner that makes `steps` steps."""
    system = System(plan, seed, None)
    seen: list[tuple[float, float]] = []
    start: list[tuple[float, ...]] = []

    def record(step_s: float, waited: float) -> None:
        seen.append((step_s, waited))
        if len(seen) == WARM:
            start.append(_integrals(system))
            system.ages.clear()

    system.learn(0.0, record)
    system.admit()
    while len(seen) < steps + WARM:
        if not system.clock.step():
            raise ValueError("the run stands still: no batch can ever be filled")
    steady = seen[WARM:]
    seconds = sum(s for s, _ in steady)
    return _found(system, plan, start[0], seconds, seconds / len(steady), sum(w for _, w in steady) / seconds)


def offered(plan: Plan, rate: float, seconds: float = 600.0, seed: int = 0) -> Found:
    """Open loop: `rate` groups a second come whatever the system makes of them; `step_s` is that of their batches."""
    system = System(plan, seed, rate)
    start: list[tuple[float, ...]] = []

    def arrive() -> None:
        system.begin()
        system.clock.after(system.rng.expovariate(rate), arrive)

    system.clock.after(0.0, arrive)
    system.clock.after(seconds / 4, lambda: start.append(_integrals(system)))
    while system.clock.now < seconds:
        system.clock.step()
    found = _found(system, plan, start[0], seconds * 3 / 4, 0.0, 0.0)
    return replace(found, step_s=plan.groups_per_step / max(found.groups_per_s, 1e-9))


def _integrals(system: System) -> tuple[float, ...]:
    sums: list[float] = [system.spent, system.finished, system.dropped]
    for replicas in system.parts.values():
        for replica in replicas:
            replica.advance()
        sums += [sum(r.busy for r in replicas), sum(r.filled for r in replicas), sum(r.waited for r in replicas)]
    return tuple(sums)


def _found(
    system: System, plan: Plan, before: Sequence[float], seconds: float, step_s: float, learner_idle: float
) -> Found:
    spent, finished, dropped, *rest = [b - a for a, b in zip(before, _integrals(system), strict=True)]
    kinds = {"engine": plan.engine, "render": plan.render, "judge": plan.judge}
    by_part = {name: rest[3 * n : 3 * n + 3] for n, name in enumerate(kinds)}
    return Found(
        step_s=step_s,
        groups_per_s=plan.groups_per_step / step_s if step_s else finished / seconds,
        learner_idle=learner_idle,
        busy={name: by_part[name][0] / seconds / kind.replicas for name, kind in kinds.items()},
        filled={name: by_part[name][1] / seconds / kind.replicas / kind.seats for name, kind in kinds.items()},
        waiting={name: by_part[name][2] / seconds for name in kinds},
        staleness=sum(system.ages) / max(1, len(system.ages)),
        stale=dropped / max(1.0, finished),
        group_s=spent / max(1.0, finished),
    )
