"""The pages' files: markup, scripts, styles, vendored libraries and example pictures, all from this folder.

Guarantees: every answer says what a page may do: its own scripts and styles, its own server, nothing inline, nothing
from elsewhere; so the pages work offline, and text that they show cannot run.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive, Scope, Send

from configs.domains import shipped

PAGES = Path(__file__).parents[1] / "pages"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class Guarded:
    """An ASGI application whose every answer carries HEADERS."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                extra = [(key.encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._inner(scope, receive, marked)


def static() -> Guarded:
    """The application to be mounted at /pages."""
    return Guarded(StaticFiles(directory=PAGES))


def studio(domain: str) -> Callable[[Request], Awaitable[Response]]:
    """The page at /, with the example pictures of a domain. Another's would be no fair question; a domain without any
    offers none."""
    pictures = sorted(path.stem for path in (PAGES / "examples" / domain).glob("*.png")) if domain in shipped() else []
    names = " ".join(f"{domain}/{name}" for name in pictures)
    page = (PAGES / "studio.html").read_text().replace(' data-pictures=""', f' data-pictures="{names}"')

    async def answer(request: Request) -> Response:
        return HTMLResponse(page, headers=HEADERS)

    return answer


async def docs(request: Request) -> Response:
    """The page at /docs, from our own files: FastAPI's loads its scripts from another server. Swagger UI sets styles in
    its markup and draws its icons from data URLs, so this one page may."""
    policy = HEADERS["content-security-policy"].replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    return FileResponse(PAGES / "docs.html", headers={**HEADERS, "content-security-policy": policy})
