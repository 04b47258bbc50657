"""An environment whose failed requests are made again: one request is repeated, never the episode around it.

Guarantees: an `Outage` of one request is retried `retries` times with backoff and then leaves as it is; what was
sampled before it is kept. So an outage costs a long episode no more than a short one: were episodes played anew, or
given up at once, those that survive would be the short ones, and the policy would learn to be brief from broken
machines.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from actors.contracts import Domain, Judge, Outage, Policy, Renderer, RenderResult, Sample, Verdict
from actors.rollout.episode import Environment

T = TypeVar("T")


async def again(request: Callable[[], Awaitable[T]], retries: int, failed: Callable[[], None] = lambda: None) -> T:
    """The answer of `request`, made again after an Outage; `failed` is called for each that is retried."""
    for attempt in range(retries):
        try:
            return await request()
        except Outage:
            failed()
            await asyncio.sleep(min(10.0, 0.5 * 2**attempt) * random.uniform(0.5, 1.5))
    return await request()


@dataclass
class _Policy:
    inner: Policy
    retries: int
    failures: int = 0  # of this episode so far: another session may land on another engine

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        def request() -> Awaitable[Sample]:
            name = f"{session}.{self.failures}"
            return self.inner.sample(prompt_ids, images, max_tokens=max_tokens, session=name)

        def failed() -> None:
            self.failures += 1

        return await again(request, self.retries, failed)


@dataclass(frozen=True)
class _Renderer:
    inner: Renderer
    retries: int

    async def render(self, source: str, domain: Domain) -> RenderResult:
        return await again(lambda: self.inner.render(source, domain), self.retries)


@dataclass(frozen=True)
class _Judge:
    inner: Judge
    retries: int

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        return await again(lambda: self.inner.compare(target, render, domain), self.retries)

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        return await again(lambda: self.inner.prefer(target, first, second, domain), self.retries)


def retried(env: Environment, retries: int) -> Environment:
    """The same environment for one episode, whose requests are made again after an outage."""
    return Environment(
        _Policy(env.policy, retries), _Renderer(env.renderer, retries), _Judge(env.judge, retries), env.codec
    )
