"""Heads that never end, heads without end, and headers that would steer: against a real server of Ray's kind."""

import asyncio
import contextlib
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
    if scope["path"] == "/slow":
        await asyncio.sleep(4 * front.HEAD_S)
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
        more = b"Serve_Multiplexed_Model_Id: x\r\nX-Session-Id: y\r\nX-Serve-Router-Any: z\r\nX-Own: 2\r\n\r\n"
        assert b"200 OK" in await ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n" + more)
    assert set(SEEN.pop()["headers"]) == {b"host", b"x-own"}
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


CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_what_stands_around_a_body_has_a_bound_and_small_pieces_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(monkeypatch) as port:
        large = b"x" * 30_000
        assert b"200" not in await ask(port, CHUNKED + b"1\r\nx\r\n0\r\n", *[b"X-A: " + large + b"\r\n"] * 9, b"\r\n")
        assert b"200" not in await ask(port, CHUNKED + b"1;", *[large] * 9, b"\r\nx\r\n0\r\n\r\n")
        SEEN.clear()
        assert b"200 OK" in await ask(port, CHUNKED, *[b"1\r\nx\r\n" * 5000] * 20, b"0\r\nX-Trailer: y\r\n\r\n")
    assert SEEN[0]["body"] == 100_000


async def test_empty_lines_hold_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "HEAD_S", 0.3)
    async with served(monkeypatch) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b"ok")
        async with asyncio.timeout(30):
            with contextlib.suppress(ConnectionError):
                while not reader.at_eof():
                    writer.write(b"\r\n")
                    await writer.drain()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(1), 0.05)
        writer.close()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nxxxxxx",
        b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: a\r\n X-Forwarded-For: 1\r\n\r\n", b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x1b[2J\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n", b"GET /\x1b[2J HTTP/1.1\r\n\r\n",
        CHUNKED + b"FFFFFFFFFFFFFFFFF\r\nx", CHUNKED + b"-1\r\nx", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["both_lengths", "two_lengths", "space_before_colon", "another_coding", "folded", "null", "escape_in_a_header",
         "bare_line_ends", "escape_in_the_path", "huge_piece", "negative_piece", "second_version", "tunnel"],
)  # fmt: skip
async def test_requests_that_two_servers_would_read_otherwise_are_refused(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    async with served(monkeypatch) as port:
        answer = await ask(port, request_)
    assert b" 400 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize("name", [b"websocket", b"h2c"])
async def test_an_upgrade_is_answered_as_any_request(monkeypatch: pytest.MonkeyPatch, name: bytes) -> None:
    head = b"Connection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n" % name
    async with served(monkeypatch) as port:
        assert b"200 OK" in await ask(port, b"GET / HTTP/1.1\r\nX-Forwarded-For: 9.9.9.9\r\n" + head + b"\r\n")
    assert b"x-forwarded-for" not in SEEN[0]["headers"] and SEEN[0]["client"][0] == "127.0.0.1"


async def test_an_answer_may_take_longer_than_a_head_on_a_connection_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "HEAD_S", 0.3)
    async with served(monkeypatch) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for head in (
            b"GET / HTTP/1.1",
            b"GET /slow HTTP/1.1",
            b"POST /slow HTTP/1.1\r\nContent-Length: 1",
            b"GET / HTTP/1.1",
        ):
            # a body and, as old clients do, an empty line behind it
            writer.write(head + b"\r\nHost: x\r\n\r\n" + (b"x\r\n" if head.startswith(b"POST") else b""))
            async with asyncio.timeout(30):
                assert b"200 OK" in await reader.readuntil(b"ok"), head
        writer.close()
