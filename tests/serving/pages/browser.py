"""Chromium pages for tests, as the renderer finds its browser."""

import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from playwright.sync_api import Page, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from serving.http.static import static, studio
from serving.render.web_browser import find_browser

WAIT_MS = 60_000


@contextmanager
def opened(**context: Any) -> Iterator[Page]:
    """A page of a fresh context; errors of its scripts and refusals of its policy fail the test at the end."""
    with sync_playwright() as playwright:
        path = find_browser("", playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path)
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(WAIT_MS)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
        )
        try:
            yield page
        finally:
            browser.close()
        assert not wrong, wrong


@contextmanager
def studio_before(answer: Callable[[Request], Awaitable[Response]]) -> Iterator[str]:
    """Address of the studio before a server that answers POST /v1/image-to-code as the test says."""
    routes = [
        Route("/", studio("chart")),
        Mount("/pages", static()),
        Route("/v1/image-to-code", answer, methods=["POST"]),
    ]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(60)


def too_wide(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
