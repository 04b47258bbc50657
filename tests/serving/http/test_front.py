"""Heads that never end, heads without end, and headers that would steer: against a real server of Ray's kind."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from serving.http import front
from tests.serving.live import free_port

SEEN: list[dict[str, Any]] = []


async def application(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    SEEN.append({"client": scope["client"], "headers": dict(scope["headers"]), "body": len(body)})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """As Ray's proxy does: the callback first, then the server."""
    import uvicorn.protocols.http.auto as auto

    monkeypatch.setattr(auto, "AutoHTTPProtocol", auto.AutoHTTPProtocol)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1"))
    app: Any = application
    for middleware in front.middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    SEEN.clear()
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(lambda: app, factory=True, port=port, lifespan="off", log_level="critical"))
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(30):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await running


async def ask(port: int, *parts: bytes) -> bytes:
    """The answer to what is sent, part by part; what is there when the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        pass
    async with asyncio.timeout(30):
        try:
            return await reader.read(4096)
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def test_clients_steer_nothing_by_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as port:
        steering = b"X-Forwarded-For: 9.9.9.9\r\nX-Request-Disconnect-Disabled: ?1\r\nx-request-timeout-seconds: 0\r\n"
        assert b"200 OK" in await ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + steering + b"X-Own: 1\r\n\r\n")
        assert b" 404 " in await ask(port, b"GET /-/routes HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [seen["client"][0] for seen in SEEN] == ["127.0.0.1"]
    assert set(SEEN[0]["headers"]) == {b"host", b"x-own"}


async def test_heads_have_a_bound_and_bodies_of_that_size_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as port:
        large = b"X-Padding: " + b"x" * 30_000 + b"\r\n"
        assert b" 431 " in await ask(port, b"GET / HTTP/1.1\r\n", large, large, large, large)
        assert b" 431 " in await ask(port, b"GET /" + b"y" * 50_000, b"y" * 50_000)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
        assert b"200 OK" in await ask(port, head, *[b"z" * 30_000] * 10)
        twice = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        assert (await ask(port, twice + b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")).count(b"200 OK") >= 1
    assert SEEN[0]["body"] == 300_000


async def test_a_head_that_does_not_arrive_ends_and_a_slow_body_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_S", 0.3)
    async with served(monkeypatch) as port:
        for held in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
            assert await ask(port, held) == b""
        drip = [b"GET / HTTP/1.1\r\n", *[b"X: y\r\n"] * 60]
        assert b"200" not in await ask(port, *drip, b"\r\n")
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n"
        assert b"200 OK" in await ask(port, head, *[b"z"] * 60)
