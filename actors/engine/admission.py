"""Requests on their way into an engine.

Guarantees: once `settled` returns, vLLM's core has every request that was begun before. vLLM reads a prompt's pictures
before its core knows of the request: weights that change in between would sample over the cache of older ones, under
whose version the prompt is salted.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any


class Admission:
    """All requests of one AsyncLLM; its `add_request`, which `generate` calls, is counted."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._add = engine.add_request
        self._under_way: set[str] = set()
        self._none = asyncio.Event()
        self._none.set()
        engine.add_request = self._add_request

    def generate(self, prompt: Any, params: Any) -> AsyncIterator[Any]:
        """vLLM's `generate`, counted from this call until the core has the request."""
        name = uuid.uuid4().hex
        self._under_way.add(name)
        self._none.clear()
        return self._engine.generate(prompt, params, name)

    async def settled(self) -> None:
        """Until the core has every request; no new one may begin meanwhile."""
        await self._none.wait()

    async def _add_request(self, request_id: str, *args: Any, **options: Any) -> Any:
        try:
            return await self._add(request_id, *args, **options)
        finally:
            self._under_way.discard(request_id)
            if not self._under_way:
                self._none.set()
