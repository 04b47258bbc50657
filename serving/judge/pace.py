"""Requests and tokens a minute: an endpoint's limits kept from this side, and its Retry-After for everybody.

Guarantees: over any minute at most as many requests start as allowed, and as many tokens as the answers so far let
expect; after a Retry-After nobody asks before it has passed. Without limits nobody waits.
"""

import asyncio
import time
from collections import deque

MINUTE_S = 60.0


class Pace:
    """One for each endpoint; 0 is no limit."""

    def __init__(self, requests: int, tokens: int) -> None:
        self._requests, self._tokens = requests, tokens
        self._started: deque[float] = deque()
        self._used: deque[tuple[float, int]] = deque()
        self._typical = 0  # tokens of a request, as far as is known
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    async def wait(self) -> None:
        """Return when another request may start. The caller's deadline bounds it."""
        async with self._turn:
            while (pause := self._pause(time.monotonic())) > 0:
                await asyncio.sleep(pause)
            if self._requests or self._tokens:
                self._started.append(time.monotonic())

    def hold(self, seconds: float) -> None:
        """Nobody asks for that long."""
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def used(self, tokens: int) -> None:
        """What an answer has cost."""
        if self._tokens and tokens:
            self._used.append((time.monotonic(), tokens))
            self._typical = max(tokens, int(0.9 * self._typical))

    def _pause(self, now: float) -> float:
        while self._started and self._started[0] <= now - MINUTE_S:
            self._started.popleft()
        while self._used and self._used[0][0] <= now - MINUTE_S:
            self._used.popleft()
        pause = self._not_before - now
        if self._requests and len(self._started) >= self._requests:
            pause = max(pause, self._started[-self._requests] + MINUTE_S - now)
        if self._tokens and self._used and sum(n for _, n in self._used) + self._typical > self._tokens:
            pause = max(pause, self._used[0][0] + MINUTE_S - now)
        return pause
