"""Who may come in: token, size, rate and load, before a request costs anything.

Guarantees: a refused request is answered at once and never reaches an endpoint; the routes are the application's own
table, and each has its limit unless FREE names it: at most `http.max_in_flight` requests of it are in work, so those
admitted wait a bounded time; a body that is too long or too slow ends; the token is compared in constant time; pages of
other sites come in only from `http.origins`. FREE routes (health, metrics, pages) are answered under any load.
"""

import asyncio
import hmac
import ipaddress
import math
import time
from collections import Counter, OrderedDict
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from configs.schema import ServeHttp
from serving.http.errors import BadRequest, problem
from serving.http.metrics import Figures

# routes that do no work worth a limit; every other route of the application has one, a new one too
FREE = ("/", "/pages", "/runs", "/health", "/metrics", "/v1/models", "/v1/reload", "/docs", "/openapi.json")
OTHER = "other"  # where the application has no route
OPEN = ("/", "/health", "/docs", "/openapi.json")  # without a token: they say nothing that needs one
COOKIE = "rrvf_token"  # set by the studio with SameSite=Strict: another site's page cannot use it
CLIENTS = 10_000  # whose rate is remembered
DRAIN_S = 2.0  # a refused client may finish sending, else it sees a broken pipe in place of the answer
GONE = 499


class Rate:
    """A bucket of `per_minute` requests for every client, refilled evenly."""

    def __init__(self, per_minute: int) -> None:
        self._most = float(per_minute)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # left in it, at that time

    def wait(self, client: str, now: float) -> int:
        """0 and one request less in the client's bucket, or the seconds until there is one."""
        left, since = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._most / 60)
        allowed = left >= 1
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - left) * 60 / self._most))


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, config: ServeHttp, figures: Figures) -> None:
        self._app = app
        self._config = config
        self._figures = figures
        self._token = f"Bearer {config.token}".encode() if config.token else b""
        self._origins = config.origins.split(",") if config.origins else []
        self._rate = Rate(config.rate_per_minute) if config.rate_per_minute else None
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        route = _route(scope)
        refusal = self._refusal(scope, route)
        if refusal is not None:
            self._figures.refused(route, refusal.kind, refusal.status)
            await _drain(receive)
            answer = problem(refusal.status, refusal.kind, refusal.message, wait_s=refusal.wait_s)
            await answer(scope, receive, send)
            return
        await self._admitted(scope, receive, send, route)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send, route: str) -> None:
        started, status = time.perf_counter(), GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_flight[route] += 1
        self._figures.entered(route)
        try:
            await self._app(scope, self._measured(receive), watched)
        except Exception:
            status = 500
            raise
        finally:
            self._in_flight[route] -= 1
            self._figures.left(route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, route: str) -> BadRequest | None:
        headers = Headers(scope=scope)
        path = scope["path"].rstrip("/") or "/"
        if self._token and not _open(path) and not hmac.compare_digest(_presented(headers), self._token):
            return BadRequest("unauthorized", "send `Authorization: Bearer TOKEN` (http.token)", 401)
        if not self._token and _rebound(scope, headers):
            message = (
                "ask for localhost or an address, or set a token (http.token): another name may be a trick on a browser"
            )
            return BadRequest("unknown_host", message, 403)
        asks = scope["method"] == "POST" or "access-control-request-method" in headers
        if asks and _foreign(headers) and headers["origin"] not in self._origins:
            message = f"a page of {headers['origin'][:200]} may not use this server (http.origins lists those that may)"
            return BadRequest("cross_site", message, 403)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:18]) > self._config.max_body_mb * 2**20:
            return self._too_large()
        if route == OTHER or route in FREE:
            return None
        client = scope["client"][0] if scope.get("client") else "?"
        if self._rate is not None and (wait := self._rate.wait(client, time.monotonic())):
            message = f"at most {self._config.rate_per_minute} requests a minute (http.rate_per_minute)"
            return BadRequest("rate_limited", message, 429, wait_s=wait)
        if self._in_flight[route] >= self._config.max_in_flight:
            message = f"{self._config.max_in_flight} requests are in work (http.max_in_flight); try again soon"
            return BadRequest("overloaded", message, 503, wait_s=1)
        return None

    def _too_large(self) -> BadRequest:
        return BadRequest("too_large", f"a body may have {self._config.max_body_mb} MB (http.max_body_mb)", 413)

    def _measured(self, receive: Receive) -> Receive:
        """`receive` that counts the body as it comes and gives it `http.body_s` to arrive."""
        deadline = time.monotonic() + self._config.body_s
        size, complete = 0, False

        async def measured() -> Message:
            nonlocal size, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    message = await receive()
            except TimeoutError:
                limit = f"{self._config.body_s:g} s (http.body_s)"
                raise BadRequest("slow_body", f"the body did not arrive within {limit}", 408) from None
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if size > self._config.max_body_mb * 2**20:
                raise self._too_large()
            return message

        return measured


def _route(scope: Scope) -> str:
    """The path of the application's route that answers, as it was declared; OTHER where none does."""
    for route in scope["app"].routes:
        if route.matches(scope)[0] is Match.FULL:
            return str(route.path) or "/"
    return OTHER


def _open(path: str) -> bool:
    return path in OPEN or path.startswith("/pages/")


def _foreign(headers: Headers) -> bool:
    """A page of another site asks, through the browser of someone who may reach this server."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _rebound(scope: Scope, headers: Headers) -> bool:
    """On loopback by a name that is not its own: a page whose name was made to point here (DNS rebinding) is no foreign
    one to its browser."""
    server = _address((scope.get("server") or ("",))[0])
    if server is None or not server.is_loopback:
        return False
    try:
        asked = urlsplit(f"//{headers.get('host', '')}").hostname
    except ValueError:
        return True
    return asked not in (None, "localhost") and _address(asked) is None


def _address(host: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host or "")
    except ValueError:
        return None


def _presented(headers: Headers) -> bytes:
    """The token as a header; else as the cookie that the pages set for pictures and links, which carry no header."""
    if sent := headers.get("authorization"):
        return sent.encode("latin-1")
    cookies = dict(part.strip().partition("=")[::2] for part in headers.get("cookie", "").split(";"))
    return f"Bearer {unquote(cookies.get(COOKIE, ''))}".encode()


async def _drain(receive: Receive) -> None:
    """Take what is left of a refused request, for a while."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass
