"""Who waits for what: every request of this process at engine, renderer and judge, with its name and its age.

Guarantees: a request is counted from its call to its end, however it ends. From the counts follow two things: `room`
says whether one more group would wait too long anywhere (Little's law: wait = requests under way / requests finished
per second, and a part that finishes nothing lets nobody in), and `stuck` names what has waited longer than it should.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from actors.contracts import Domain, Judge, Policy, Renderer, RenderResult, Sample, Verdict
from actors.rollout.episode import Environment

WINDOW = 64  # finished requests that the rate of a part is taken from
SESSION: ContextVar[str] = ContextVar("session", default="?")  # of the episode that this task plays


@dataclass(frozen=True)
class Request:
    part: str
    who: str
    since: float


class Waits:
    """Requests under way by part (engine, render, judge)."""

    def __init__(self) -> None:
        self._under_way: dict[int, Request] = {}
        self._finished: dict[str, deque[float]] = {}
        self._number = 0

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """A request at `part` for as long as the block runs."""
        self._number += 1
        key = self._number
        self._under_way[key] = Request(part, SESSION.get(), time.monotonic())
        try:
            yield
        finally:
            del self._under_way[key]
            self._finished.setdefault(part, deque(maxlen=WINDOW)).append(time.monotonic())

    def expected(self) -> dict[str, float]:
        """Seconds that one more request would wait at each part that is in use."""
        now, found = time.monotonic(), {}
        for part in {r.part for r in self._under_way.values()}:
            held = [r.since for r in self._under_way.values() if r.part == part]
            done = self._finished.get(part, deque())
            if len(done) < 2:
                found[part] = now - min(held)
            else:
                rate = (len(done) - 1) / max(1e-6, now - done[0])
                found[part] = max(len(held) / rate, now - done[-1])
        return found

    def room(self, limit: float) -> bool:
        """Whether no part would let a request wait longer than `limit` seconds."""
        return all(seconds <= limit for seconds in self.expected().values())

    def stuck(self, limit: float) -> list[str]:
        """One line for each request older than `limit` seconds, oldest first."""
        now = time.monotonic()
        late = sorted((r for r in self._under_way.values() if now - r.since > limit), key=lambda r: r.since)
        return [f"{r.who} has waited {now - r.since:.0f} s for the {r.part}" for r in late]


@dataclass(frozen=True)
class _Policy:
    inner: Policy
    waits: Waits

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        with self.waits.at("engine"):
            return await self.inner.sample(prompt_ids, images, max_tokens=max_tokens, session=session)


@dataclass(frozen=True)
class _Renderer:
    inner: Renderer
    waits: Waits

    async def render(self, source: str, domain: Domain) -> RenderResult:
        with self.waits.at("render"):
            return await self.inner.render(source, domain)


@dataclass(frozen=True)
class _Judge:
    inner: Judge
    waits: Waits

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        with self.waits.at("judge"):
            return await self.inner.compare(target, render, domain)


def watched(env: Environment, waits: Waits) -> Environment:
    """The same env, with every request noted in `waits`."""
    return Environment(_Policy(env.policy, waits), _Renderer(env.renderer, waits), _Judge(env.judge, waits), env.codec)
