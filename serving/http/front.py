"""What stands in Ray Serve's proxy before every replica: heads that end, and headers that steer nothing.

Guarantees: a request's head has at most HEAD_BYTES and arrives within HEAD_S, else the connection ends, and so has what
stands around the pieces of its body and behind it; there are no web sockets; no header of a client changes who it seems
to be (X-Forwarded-For), which replica has its work, how long that may go on or whether it ends with the client (Ray's
own headers); the proxy's list of routes is not shown. Loaded by the proxy itself: RAY_SERVE_HTTP_PROXY_CALLBACK
names `middlewares` (see CALLBACK) in the environment from which Ray starts.
"""

import asyncio
import os
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CALLBACK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serving.http.front:middlewares"}
HEAD_BYTES, HEAD_S = 65_536, 10.0
STEERING = (b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-forwarded-for", b"x-forwarded-proto",
            b"x-forwarded-host", b"forwarded", b"serve_multiplexed_model_id", b"x-session-id")  # fmt: skip
STEERING_PREFIX = b"x-serve-router-"
FRAMING = 8  # bytes around each byte of a body that comes in pieces of one
HIDDEN = ("/-/routes",)
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHead(HttpToolsProtocol):
    """Uvicorn's connection, with a bound on the size and the time of each request's head."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head = 0  # bytes of a head that is not complete
        self._begun = 0  # requests
        self._inside = False  # between the beginning and the end of a request
        self._body, self._around = 0, 0  # bytes of its body so far, and of what is neither head nor body
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        complete, inside = self._patience is None and self._head == 0, self._inside
        begun, body = self._begun, self._body
        self._head += len(data)
        super().data_received(data)
        if complete and self._patience is None:
            self._head = 0  # a body
            if inside and self._inside:
                self._around += len(data) - (self._body - body)
            elif self._begun == begun and not self._inside and (self.cycle is None or self.cycle.response_complete):
                self._wait()  # empty lines before a head are the beginning of one
        elif self._patience is not None and self._head > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()
        if self._around > HEAD_BYTES + FRAMING * self._body and not self.transport.is_closing():
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun += 1
        self._inside, self._body, self._around = True, 0, 0
        if self._patience is None:
            self._wait()

    def on_body(self, body: bytes) -> None:
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._inside = False
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        self._settle()
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing of note: the request is answered as any other."""

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._give_up)

    def _settle(self) -> None:
        self._head = 0
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class Front:
    """ASGI middleware: the request without what would steer the proxy."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"].rstrip("/") in HIDDEN:
                await PlainTextResponse("not found", 404)(scope, receive, send)
                return
            scope["headers"] = [
                (name, value)
                for name, value in scope["headers"]
                if name.lower() not in STEERING and not name.lower().startswith(STEERING_PREFIX)
            ]
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """Asked by the proxy before it builds its server: what that reads is set here."""
    import uvicorn.protocols.http.auto as auto

    os.environ["FORWARDED_ALLOW_IPS"] = ""  # uvicorn trusts the loopback's X-Forwarded-For else
    auto.AutoHTTPProtocol = BoundedHead  # type: ignore[misc]
    return [Middleware(Front)]
