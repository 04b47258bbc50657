"""Chromium pages for tests, as the renderer finds its browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

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
        page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
        try:
            yield page
        finally:
            browser.close()
        assert not wrong, wrong


def too_wide(page: Page) -> bool:
    """Whether the page scrolls sideways."""
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
