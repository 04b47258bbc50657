"""An OpenAI-compatible endpoint whose answers a test decides, on a thread of its own."""

import asyncio
import base64
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from aiohttp import web
from PIL import Image

Reply = Callable[[dict[str, Any]], str | web.Response]


def sizes(body: dict[str, Any]) -> list[tuple[int, int]]:
    """Of the pictures in a request, in their order."""
    parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).size for url in urls]


def texts(body: dict[str, Any]) -> list[str]:
    """Of the user's message, with "" where a picture stands."""
    return [part.get("text", "") for part in body["messages"][-1]["content"]]


@contextmanager
def stand_in(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(address, the requests so far); a text of `reply` becomes a completion."""
    bodies: list[dict[str, Any]] = []

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "stand-in"}]})

    async def chat(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        found = reply(bodies[-1])
        return web.json_response({"choices": [{"message": {"content": found}}]}) if isinstance(found, str) else found

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**27)
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", bodies
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
