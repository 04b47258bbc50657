"""Calls to a service that fails at times: bounded concurrency, retries with jitter and a circuit breaker.

Guarantees: a `Transient` failure is tried again at most `retries` times, later and later and never in step with other
callers; after TRIP failures in a row the service sees one call at a time, at pauses that double up to PAUSE_S, until
one succeeds; any other error ends the call at once. The caller sets the deadline (`asyncio.timeout`).
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from actors.contracts import Outage

T = TypeVar("T")

TRIP = 5  # failures in a row, over all callers, that open the circuit
PAUSE_S = 30.0  # the longest pause between two probes of an open circuit
BACKOFF_S = 8.0  # the longest pause between two attempts of one call


class Transient(Exception):
    """This attempt failed and another may not; `wait_s` is what the service asked for, 0 if nothing."""

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class Slow(Transient):
    """The service did not answer this attempt in time: it is busy, which is not down, so the circuit stays as it is."""


class Caller:
    """Everything that calls one service goes through one of these."""

    def __init__(self, part: str, retries: int, concurrency: int) -> None:
        self._part = part
        self._retries = retries
        self._slots = asyncio.Semaphore(concurrency)
        self._probe = asyncio.Lock()
        self._in_a_row = 0
        self._open_until = 0.0
        self.failures = 0
        self.last = "no failure so far"  # why the newest failed attempt failed, for the words of a timeout

    @property
    def open(self) -> bool:
        """The service is believed to be down."""
        return self._in_a_row >= TRIP

    async def call(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`. Raises Outage after the last retry, and whatever `attempt` raises but Transient."""
        for number in range(self._retries + 1):
            try:
                async with self._slots:
                    return await self._pass(attempt)
            except Transient as error:
                wait_s = max(error.wait_s, min(BACKOFF_S, 0.25 * 2**number)) * random.uniform(1.0, 1.5)
            if number < self._retries:
                await asyncio.sleep(wait_s)
        raise Outage(self._part, f"no answer after {self._retries + 1} attempts; last: {self.last}")

    async def _pass(self, attempt: Callable[[], Awaitable[T]]) -> T:
        while self.open:
            async with self._probe:
                if not self.open:
                    break
                await asyncio.sleep(max(0.0, self._open_until - time.monotonic()))
                return await self._count(attempt)
        return await self._count(attempt)

    async def _count(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            result = await attempt()
        except Transient as error:
            self.failures += 1
            self._in_a_row += not isinstance(error, Slow)
            self.last = str(error)
            if self.open:
                self._open_until = time.monotonic() + min(PAUSE_S, 2.0 ** (self._in_a_row - TRIP))
            raise
        self._in_a_row = 0
        return result
