"""An OpenAI-compatible endpoint that misbehaves on demand."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests.serving.judge.marks import MARKS

VERDICT = json.dumps({"differences": [], "feedback": "Add a title.", "marks": dict.fromkeys(MARKS["chart"], 4)})


class Faulty:
    """Plays `script`, one behaviour a request, the last one for ever; keeps the requests."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.requests: list[dict[str, Any]] = []
        self.authorization: list[str | None] = []
        self.listed = ["first", "second"]  # the models it has
        self.at_once = 0
        self.most_at_once = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.authorization.append(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._play(self.script.pop(0) if len(self.script) > 1 else self.script[0], request)
        finally:
            self.at_once -= 1

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": name} for name in self.listed]})

    async def _play(self, behaviour: str, request: web.Request) -> web.StreamResponse:
        text = VERDICT
        match behaviour:
            case "hang":
                await asyncio.sleep(3600)
            case "busy":
                return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "1"})
            case "error":
                return web.Response(status=500, text="<html>oops</html>")
            case "forbidden":
                return web.json_response({"error": "wrong key"}, status=401)
            case "reset":
                assert request.transport is not None
                request.transport.abort()
            case "truncated":  # announces more than it sends
                response = web.StreamResponse(headers={"Content-Length": "4000", "Content-Type": "application/json"})
                await response.prepare(request)
                await response.write(b'{"choices": [{"message": {"content": "')
                assert request.transport is not None
                request.transport.close()
                return response
            case "half":  # a whole HTTP answer that is half a JSON document
                return web.Response(text='{"choices": [{"mess', content_type="application/json")
            case "other":
                return web.json_response({"choices": []})
            case "malformed":
                text = "I would give it full marks."
            case "slow":
                await asyncio.sleep(0.2)
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": text}}]})


@asynccontextmanager
async def serve(*script: str) -> AsyncIterator[tuple[Faulty, str]]:
    """The endpoint and its base URL, on a free port of this machine."""
    faulty = Faulty(*script)
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", faulty.answer)
    app.router.add_get("/v1/models", faulty.models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield faulty, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
