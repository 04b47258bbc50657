"""A jailed Chromium for pages: found, started through Playwright's driver, asked whether it lives, and closed.

Guarantees: a browser starts within LAUNCH_S, at the second try with a new driver, or it is an Outage; where namespaces
are to be had it runs in a jail without network or foreign files, as nobody, with Chromium's own sandbox on.
"""

import asyncio
import contextlib
import os
import shlex
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.contracts import Outage
from configs.schema import Render
from configs.system import BROWSERS
from serving.render import fonts, sandbox
from serving.render.web_page import Tab

LAUNCH_S = 30.0
CLOSE_S = 5.0
# Playwright's own settings for pointers, which ours would replace, and no more than the first frame of a picture
BLINK = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4,imageAnimationPolicy=2"
FLAGS = (
    "--disable-gpu", "--disable-dev-shm-usage", "--font-render-hinting=none", "--hide-scrollbars",
    f"--blink-settings={BLINK}",
)  # fmt: skip
HEAP_MB, HEAP_MB_EACH = 128, 64  # of Playwright's driver, and for each page under way: the largest takes 40


class BrowserMissing(RuntimeError):
    """No Chromium was found; the message names the two commands that install one."""

    exit_status = 2


def find_browser(configured: str, playwright_own: str) -> str:
    """Path of a Chromium: as configured, Playwright's own, or one on the PATH. Raises BrowserMissing."""
    if configured:
        if not (os.path.isfile(configured) and os.access(configured, os.X_OK)):
            raise BrowserMissing(f"render.browser={configured} is not an executable file")
        return configured
    if os.access(playwright_own, os.X_OK):
        return playwright_own
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise BrowserMissing(
        "no Chromium here: run `apt-get install chromium-headless-shell` (Debian) "
        "or `python -m playwright install chromium-headless-shell`, or set render.browser"
    )


@dataclass(eq=False)
class Browser:
    """One browser process, how many pages it has had and has now, and its tabs that wait for the next one."""

    handle: Any
    pid: int
    pages: int = 0
    active: int = 0
    retired: bool = False
    idle: list[Tab] = field(default_factory=list)

    @property
    def version(self) -> str:
        """Of Chromium: the one thing by which the pictures of a page may differ between two machines."""
        return str(self.handle.version)

    async def answers(self) -> bool:
        """Whether browser and driver are there: what fails on one that is gone says nothing of the page."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await (await self.handle.new_browser_cdp_session()).detach()
        except Exception:
            return False
        return True

    async def close(self) -> None:
        """Ask, then kill."""
        self.retired = True
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CLOSE_S):
                await self.handle.close()
        with contextlib.suppress(OSError):
            os.kill(self.pid, 9)


class Launcher:
    """Playwright's driver and the browsers that it starts. Safe to call concurrently."""

    def __init__(self, config: Render, *, namespaces: bool) -> None:
        self.launches = 0
        self._config = config
        self._namespaces = namespaces
        self._driver: Any = None
        self._lock = asyncio.Lock()
        self._kept: list[Path] = []

    async def launch(self) -> Browser:
        """A new browser. Raises Outage, BrowserMissing."""
        async with self._lock:
            for last in (False, True):
                try:
                    async with asyncio.timeout(LAUNCH_S):
                        return await self._start()
                except BrowserMissing:
                    raise
                except Exception as error:
                    await self._stop_driver()  # it may have died, and no browser comes of it then
                    if last:
                        first = str(error).splitlines()[0] if str(error) else repr(error)
                        raise Outage("render", f"the browser does not start: {first[:300]}") from error
            raise AssertionError("the second try returns or raises")

    async def stop(self) -> None:
        """End the driver and remove what it needed; the browsers are closed by whoever has them."""
        async with self._lock:
            await self._stop_driver()
            for folder in self._kept:
                shutil.rmtree(folder, ignore_errors=True)

    async def _start(self) -> Browser:
        from playwright.async_api import async_playwright

        if self._driver is None:
            # the driver's only way in; left to itself it collects some 100 MB of garbage first
            heap_mb = HEAP_MB + HEAP_MB_EACH * self._config.web.concurrency
            os.environ.setdefault("NODE_OPTIONS", f"--max-old-space-size={heap_mb} --max-semi-space-size=4")
            self._driver = await async_playwright().start()
        path = find_browser(self._config.browser, self._driver.chromium.executable_path)
        self.launches += 1
        folder = Path(tempfile.mkdtemp(prefix="rrvf-"))
        try:
            return await self._begin(path, folder)
        finally:
            if self._namespaces:  # what a browser goes on to read is mounted: who is killed leaves nothing behind
                shutil.rmtree(folder, ignore_errors=True)
            else:
                self._kept.append(folder)

    async def _begin(self, path: str, folder: Path) -> Browser:
        """A browser from a script and settings that are written to `folder`."""
        pid_file, script = folder / "pid", folder / "browser"
        config = None if self._config.machine_fonts else folder / "fonts.conf"
        if config is not None:
            config.write_text(
                fonts.config(fonts.INSIDE if self._namespaces else str(fonts.folder()), "/tmp/fontconfig")
            )
        script.write_text(wrapper(path, pid_file, config, namespaces=self._namespaces))
        script.chmod(0o755)
        # Chromium's own sandbox refuses root; in the jail it runs as nobody
        inner = self._namespaces or os.geteuid() != 0
        handle = await self._driver.chromium.launch(
            executable_path=str(script), args=list(FLAGS), env={"LANG": "C.UTF-8", "TZ": "UTC", "HOME": "/tmp"},
            headless=True, chromium_sandbox=inner, timeout=1000 * LAUNCH_S,
            handle_sigint=False, handle_sigterm=False, handle_sighup=False,
        )  # fmt: skip
        return Browser(handle, int(pid_file.read_text()))

    async def _stop_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_S):
                    await driver.stop()


def wrapper(browser: str, pid_file: Path, fonts_config: Path | None, *, namespaces: bool) -> str:
    """A shell script that notes its process id and becomes the browser, in a jail where namespaces are to be had, with
    the fonts that `fonts_config` names and no others; None: with the machine's."""
    command = [browser] if fonts_config is None else ["env", f"FONTCONFIG_FILE={fonts_config}", browser]
    if namespaces:
        bwrap = shutil.which("bwrap")
        assert bwrap is not None
        folder = str(Path(browser).resolve().parent)
        own = [] if folder.startswith("/usr") else ["--ro-bind", folder, folder]
        flags = [*sandbox.namespace_flags(), "--tmpfs", "/tmp"]
        if fonts_config is None:
            flags += ["--ro-bind-try", "/etc/fonts", "/etc/fonts"]
        else:
            flags += ["--ro-bind", str(fonts.folder()), fonts.INSIDE]
            flags += ["--ro-bind", str(fonts_config), "/etc/fonts/fonts.conf"]
        command = [bwrap, *flags, *own, "--", browser]
    return f'#!/bin/sh\necho $$ > {shlex.quote(str(pid_file))}\nexec {shlex.join(command)} "$@"\n'
