"""Who waits for what: every request of this process at engine, renderer and judge, with its name and its age.

Guarantees: a request is counted from its call to its end, however it ends. From the counts follow two things: `room`
says whether one more group would wait too long anywhere, and `stuck` names what has waited longer than it should. Only
waiting for a place counts, not the work itself, which may take a minute for a long turn: Little's law over the requests
beyond what a part serves at once (wait = those / requests finished per second). A part that finishes nothing for longer
than its longest recent request takes lets nobody in.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
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

    def __init__(self, at_once: Mapping[str, float] | None = None) -> None:
        """`at_once`: requests that each part serves at one time for this process; a part that is not named: none."""
        self._at_once = at_once or {}
        self._under_way: dict[int, Request] = {}
        self._finished: dict[str, deque[tuple[float, float]]] = {}  # when, after how many seconds
        self._number = 0

    @contextmanager
    def at(self, part: str) -> Iterator[None]:
        """A request at `part` for as long as the block runs."""
        self._number += 1
        key = self._number
        began = time.monotonic()
        self._under_way[key] = Request(part, SESSION.get(), began)
        try:
            yield
        finally:
            del self._under_way[key]
            self._finished.setdefault(part, deque(maxlen=WINDOW)).append((time.monotonic(), time.monotonic() - began))

    def expected(self) -> dict[str, float]:
        """Seconds that one more request would wait at each part that is in use."""
        now, found = time.monotonic(), {}
        for part in {r.part for r in self._under_way.values()}:
            held = [r.since for r in self._under_way.values() if r.part == part]
            done = self._finished.get(part, deque())
            if len(done) < 2:
                found[part] = now - min(held)
            else:
                rate = (len(done) - 1) / max(1e-6, now - done[0][0])
                waiting = max(0.0, len(held) - self._at_once.get(part, 0.0))
                idle = now - done[-1][0] - max(seconds for _, seconds in done)
                found[part] = max(waiting / rate, idle)
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

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        with self.waits.at("judge"):
            return await self.inner.prefer(target, first, second, domain)


def watched(env: Environment, waits: Waits) -> Environment:
    """The same env, with every request noted in `waits`."""
    return Environment(_Policy(env.policy, waits), _Renderer(env.renderer, waits), _Judge(env.judge, waits), env.codec)
