"""Web pages: HTML in, PNG of the whole page or a clear failure out, through one persistent, jailed Chromium.

Guarantees: a page is drawn offline, without JavaScript unless the settings allow it, in a browser without network or
foreign files (as far as namespaces are to be had). A page with scripts gets a context of its own; pages without share
one until it has had `TAB_PAGES` of them or one failed, with an empty document in between: nothing that markup does
outlives its document. A result comes by `render.sandbox.wall_s` plus a margin whatever the page does, or twice that
where it was drawn again alone, because it or the browser died or the browser drew nothing any more; a browser that
loses a plain page as well is an Outage, and no page's fault. A browser is replaced after a number of pages, a size, a
death, or a page that it neither draws nor another one in its place. The same HTML gives the same
bytes with one Chromium, whatever fonts the machine has: animations stand at their end, clocks stand still or count
calls, random numbers are seeded. What was not loaded and which characters no font has is in the result's message.
"""

import asyncio
import contextlib
import functools
import os
import struct
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from actors.contracts import Outage, RenderResult
from actors.text import one_line
from configs.schema import Render
from serving.render import fonts, sandbox
from serving.render.still import STILL
from serving.render.web_browser import CLOSE_S, Browser, Launcher
from serving.render.web_page import Crashed, Failed, Tab, Unseen, draw, empty, open_tab

MEMORY_EVERY = 20  # pages between two looks at the browser's memory
TAB_PAGES = 50  # pages without scripts that one context draws: a new one costs as much as a simple page
PLAIN = "<p>."  # a page that every browser draws at once
PNG = b"\x89PNG\r\n\x1a\n"
NAMED = 8  # hosts or characters that a note names
Drawn = tuple[bytes, dict[str, int]]  # PNG, and the hosts that the page asked for, each with how often
LOOK_S = 0.25  # between two looks at the memory of a browser that runs a page's scripts


class WebRenderer:
    """Lays out pages on one browser, `web.concurrency` at a time. Safe to call concurrently."""

    def __init__(self, config: Render) -> None:
        """Raises sandbox.MissingLayer where namespaces are missing and the settings do not excuse that."""
        namespaces = "namespaces" in sandbox.active_layers(config.sandbox.allow_missing)
        self._launcher = Launcher(config, namespaces=namespaces)
        self._config = config
        self._slots = asyncio.Semaphore(config.web.concurrency)
        self._lock = asyncio.Lock()
        self._browser: Browser | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def render(self, source: str) -> RenderResult:
        """Picture of one page. Raises Outage("render", ...) when no browser can be kept alive, BrowserMissing."""
        if len(source.encode("utf-8", "replace")) > self._config.sandbox.max_source_bytes:
            message = f"the page has more than {self._config.sandbox.max_source_bytes} bytes"
            return RenderResult(False, 0.0, kind="too_large", message=message)
        async with self._slots:
            started = time.perf_counter()
            try:
                try:
                    png, refused = await self._shared(source)
                except (Crashed, _Lost):  # by the machine, or a page beside it; alone and again, by its own doing
                    png, refused = await self._alone(source)
            except (TimeoutError, Crashed, _Lost) as error:
                if isinstance(error, _Lost):
                    await self._try_plain()
                seconds = time.perf_counter() - started
                if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
                    message = f"the page took longer than {self._config.sandbox.wall_s:g} s to load and draw"
                    return RenderResult(False, seconds, kind="timeout", message=message)
                message = "the page crashed the browser that draws it; make it smaller or simpler"
                return RenderResult(False, seconds, kind="crashed", message=message)
            except Failed as error:
                message = f"the page could not be drawn: {one_line(str(error))}"
                return RenderResult(False, time.perf_counter() - started, kind="exception", message=message)
            seconds = time.perf_counter() - started
        if png[:8] != PNG or len(png) < 33:
            raise Outage("render", "the browser's screenshot is not a PNG")
        width, height = struct.unpack("!II", png[16:24])
        return RenderResult(True, seconds, png=png, size=(width, height), message=notes(source, refused))

    async def close(self) -> None:
        """End the browser and Playwright's driver."""
        async with self._lock:
            browser, self._browser = self._browser, None
            if browser is not None:
                await browser.close()
            if self._closing:
                await asyncio.wait(self._closing, timeout=2 * CLOSE_S)
            await self._launcher.stop()

    @property
    def launches(self) -> int:
        """Browsers started so far."""
        return self._launcher.launches

    @property
    def version(self) -> str:
        """Of the browser that runs; empty while none does."""
        return self._browser.version if self._browser is not None else ""

    @property
    def pids(self) -> list[int]:
        """Process id of the browser's jail, if it runs."""
        return [self._browser.pid] if self._browser is not None else []

    async def _shared(self, source: str) -> Drawn:
        """PNG by the browser that all pages share, replaced when it has had its share or died."""
        browser = await self._ready()
        browser.active += 1
        try:
            return await self._picture(browser, source)
        finally:
            browser.active -= 1
            await self._settle(browser)

    async def _alone(self, source: str) -> Drawn:
        """PNG by a browser that has this page only."""
        browser = await self._launcher.launch()
        try:
            return await self._picture(browser, source)
        finally:
            await browser.close()

    async def _try_plain(self) -> None:
        """Raises Outage where a browser that has next to nothing to draw is lost as well: no page is to blame then."""
        try:
            await self._alone(PLAIN)
        except (TimeoutError, Crashed, Failed, _Lost) as error:
            raise Outage("render", f"the browser does not draw a plain page either: {error!r}") from error

    async def _picture(self, browser: Browser, source: str) -> Drawn:
        """PNG of one page. Raises TimeoutError, Crashed, Failed, _Lost."""
        tab: Tab | None = None
        drawn = False
        watch = asyncio.ensure_future(self._watch(browser)) if self._config.javascript else None
        try:
            async with asyncio.timeout(self._config.sandbox.wall_s):
                tab = browser.idle.pop() if browser.idle else await self._tab(browser)
                tab.refused.clear()
                png = await draw(tab, source, self._config)
                drawn = True
                return png, dict(tab.refused)
        except Exception as error:
            # without a tab no page can be at fault, nor can one be for a browser that does not answer or draw
            its_own = tab is not None and not isinstance(error, Unseen) and await browser.answers()
            if its_own and isinstance(error, TimeoutError):
                its_own = await self._draws(browser)
            if its_own and isinstance(error, TimeoutError | Crashed | Failed):
                raise
            if its_own:
                words = str(error).splitlines()[0][:200] if str(error) else repr(error)
                raise Failed("it closed itself" if "has been closed" in words else words) from error
            browser.retired = True
            raise _Lost from error
        finally:
            if watch is not None:
                watch.cancel()
            if tab is not None:
                await self._put_back(browser, tab, drawn)
            else:  # a context may be half made
                browser.retired = True

    async def _draws(self, browser: Browser) -> bool:
        """Whether a browser draws a plain page beside the one that it does not finish: its compositor may be stuck."""
        try:
            async with asyncio.timeout(CLOSE_S):
                tab = await self._tab(browser)
                await draw(tab, PLAIN, self._config)
                await tab.context.close()
        except Exception:
            return False
        return True

    async def _tab(self, browser: Browser) -> Tab:
        refused: Counter[str] = Counter()
        tab = await open_tab(await self._context(browser, refused), refused)
        tab.page.on("popup", lambda popup: self._spawn(popup.close()))
        tab.page.on("dialog", lambda dialog: self._spawn(dialog.dismiss()))
        return tab

    async def _put_back(self, browser: Browser, tab: Tab, drawn: bool) -> None:
        """Keep a tab for the next page where that cannot see this one, else close it."""
        tab.documents += 1
        try:
            async with asyncio.timeout(CLOSE_S):
                if drawn and not self._config.javascript and tab.documents < TAB_PAGES:
                    await empty(tab)
                    browser.idle.append(tab)
                else:
                    await tab.context.close()
        except Exception:  # a page that cannot be closed keeps its process: the browser goes when the others are done
            browser.retired = True

    async def _watch(self, browser: Browser) -> None:
        """Kill a browser that grows too large while it runs a page's scripts."""
        while True:
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(OSError, ValueError):
                if await asyncio.to_thread(sandbox.tree_bytes, browser.pid) > self._config.browser_mb * 2**20:
                    os.kill(browser.pid, 9)

    async def _context(self, browser: Browser, refused: Counter[str]) -> Any:
        width, height = self._config.viewport
        context = await browser.handle.new_context(
            viewport={"width": width, "height": height}, screen={"width": width, "height": height},
            java_script_enabled=self._config.javascript, offline=True, accept_downloads=False, service_workers="block",
            locale="en-US", timezone_id="UTC", color_scheme="light", reduced_motion="reduce", bypass_csp=False,
        )  # fmt: skip
        await context.route("**/*", functools.partial(_refuse, refused))
        if self._config.javascript:
            await context.add_init_script(STILL)
        return context

    async def _ready(self) -> Browser:
        async with self._lock:
            if self._browser is None or self._browser.retired or not self._browser.handle.is_connected():
                # pages may still be under way on the old one; the last of them closes it
                if self._browser is not None and self._browser.active == 0:
                    await self._browser.close()
                self._browser = await self._launcher.launch()
            self._browser.pages += 1
            return self._browser

    async def _settle(self, browser: Browser) -> None:
        """Retire a browser that has had its share, and close a retired one when its last page is done."""
        if browser.pages >= self._config.browser_pages:
            browser.retired = True
        elif browser.pages % MEMORY_EVERY == 0:
            with contextlib.suppress(OSError, ValueError):
                browser.retired |= sandbox.tree_bytes(browser.pid) > self._config.browser_mb * 2**20
        if browser.retired and browser.active == 0:
            if self._browser is browser:
                self._browser = None
            await browser.close()

    def _spawn(self, work: Any) -> None:
        async def quietly() -> None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await work

        task = asyncio.ensure_future(quietly())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Lost(Exception):
    """The browser under a page died, lost it, or gives no picture of it."""


async def _refuse(refused: Counter[str], route: Any) -> None:
    """Let nothing be loaded, and no page leave: an empty answer (204) keeps the document where it is."""
    with contextlib.suppress(ValueError):
        refused[urlsplit(route.request.url).hostname or "files"] += 1
    if route.request.is_navigation_request():
        await route.fulfill(status=204)
    else:
        await route.abort()


def notes(source: str, refused: Mapping[str, int]) -> str:
    """What a page lacks here: hosts that it asked for, characters without a glyph."""
    lines = []
    if refused:
        hosts = ", ".join(f"{one_line(host)[:80]} ({count})" for host, count in sorted(refused.items())[:NAMED])
        lines.append(f"not loaded, since there is no network: {hosts}{' and others' * (len(refused) > NAMED)}")
    if lacking := fonts.missing(source):
        shown = ", ".join(f"{c} (U+{ord(c):04X})" for c in lacking[:NAMED])
        lines.append(f"no font here has {shown}{' and others' * (len(lacking) > NAMED)}")
    return "; ".join(lines)
