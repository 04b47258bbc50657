"""Browsers and their parts that die, stand still or refuse: no page is to blame for it."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Error

from actors.contracts import Outage
from configs.schema import Render, Sandbox, Workers
from serving.render import web, web_page
from serving.render.web import WebRenderer
from tests.serving.jailed.canaries import family, kill_whole
from tests.serving.render.test_web import PLAIN, REFERENCE


async def test_a_killed_browser_is_replaced_and_an_old_one_retired() -> None:
    renderer = WebRenderer(Render(browser_pages=3))
    first = await renderer.render(REFERENCE)
    await kill_whole(renderer.pids[0])
    second = await renderer.render(REFERENCE)
    assert renderer.launches == 2
    for _ in range(3):
        third = await renderer.render(REFERENCE)
    assert renderer.launches == 3
    await renderer.close()
    assert first.ok and first.png == second.png == third.png


async def test_a_page_whose_process_the_machine_kills_is_drawn_again() -> None:
    renderer = WebRenderer(PLAIN)
    first = await renderer.render(REFERENCE)
    under_way = [asyncio.ensure_future(renderer.render(REFERENCE)) for _ in range(4)]
    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for pid in renderers(renderer.pids[0]):
        os.kill(pid, 9)
    async with asyncio.timeout(120):
        assert {(await task).png for task in under_way} == {first.png}
    await renderer.close()


@pytest.mark.parametrize("javascript", [False, True])
async def test_a_tab_that_dies_while_it_opens_is_no_fault_of_the_page(
    monkeypatch: pytest.MonkeyPatch, javascript: bool
) -> None:
    renderer = WebRenderer(Render(javascript=javascript, sandbox=Sandbox(wall_s=30)))
    first = await renderer.render(REFERENCE)
    before = renderers(renderer.pids[0])
    killed = []

    async def opened(context: object, refused: Counter[str]) -> web_page.Tab:
        opening = asyncio.ensure_future(web_page.open_tab(context, refused))
        while not killed and not opening.done():
            for pid in renderers(renderer.pids[0]) - before:
                os.kill(pid, 9)
                killed.append(pid)
            await asyncio.sleep(0.005)
        return await opening

    monkeypatch.setattr(web, "open_tab", opened)
    assert renderer._browser is not None
    for _ in range(20):  # a tab may be open before its process is seen
        if not killed:
            renderer._browser.idle.clear()
            assert (await renderer.render(REFERENCE)).png == first.png
    assert killed
    await renderer.close()


async def test_a_browser_that_draws_nothing_any_more_is_no_fault_of_the_page() -> None:
    renderer = WebRenderer(Render(sandbox=Sandbox(wall_s=10)))
    first = await renderer.render(REFERENCE)
    [compositor] = processes(renderer.pids[0], "gpu-process")
    os.kill(compositor, signal.SIGSTOP)
    async with asyncio.timeout(120):
        assert (await renderer.render(REFERENCE)).png == first.png
        assert (await renderer.render(REFERENCE)).png == first.png
    await renderer.close()
    assert not Path(f"/proc/{compositor}").exists()


def processes(browser: int, kind: str) -> set[int]:
    """Of a browser, those of one of Chromium's types."""
    found = set()
    for pid in family(browser):
        with contextlib.suppress(OSError):
            if f"--type={kind}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def renderers(browser: int) -> set[int]:
    """Processes of a browser that lay pages out."""
    return processes(browser, "renderer")


async def test_a_killed_driver_is_no_fault_of_the_pages_that_it_had() -> None:
    renderer = WebRenderer(replace(PLAIN, web=Workers(concurrency=2)))
    first = await renderer.render(REFERENCE)
    under_way = [asyncio.ensure_future(renderer.render(REFERENCE)) for _ in range(8)]
    await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    drivers = [pid for pid in family(os.getpid()) if Path(f"/proc/{pid}/comm").read_text().startswith("node")]
    assert len(drivers) == 1
    os.kill(drivers[0], 9)
    async with asyncio.timeout(120):
        assert {(await task).png for task in under_way} == {first.png}
    assert (await renderer.render(REFERENCE)).png == first.png
    await renderer.close()


@pytest.mark.parametrize("frame", ["", "<iframe></iframe>"])
async def test_a_picture_that_a_browser_refuses_at_first_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, frame: str
) -> None:
    renderer = WebRenderer(PLAIN)
    calm = await renderer.render(REFERENCE + frame)
    assert renderer._browser is not None
    renderer._browser.retired = True
    refused = refuse_pictures(monkeypatch, 3)
    again = await renderer.render(REFERENCE + frame)
    await renderer.close()
    assert len(refused) == 3 and renderer.launches == 2
    assert calm.ok and again.png == calm.png


async def test_a_browser_that_refuses_one_page_is_its_fault_and_one_that_refuses_all_is_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    renderer = WebRenderer(PLAIN)
    refuse_pictures(monkeypatch, 2 * len(web_page.PAUSES_S))
    lost = await renderer.render(REFERENCE)
    assert lost.kind == "crashed" and renderer.launches == 3
    assert (await renderer.render(REFERENCE)).ok
    await renderer.close()
    renderer = WebRenderer(PLAIN)
    refuse_pictures(monkeypatch, 1000)
    with pytest.raises(Outage, match="does not draw a plain page either"):
        await renderer.render(REFERENCE)
    await renderer.close()


def refuse_pictures(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Have the next pictures refused as a browser does that just started on a busy machine; returns the refusals."""
    refused: list[str] = []

    def refusing(take: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            if len(refused) < count and (not arguments or arguments[0] == "Page.captureScreenshot"):
                refused.append("refused")
                raise Error("Protocol error (Page.captureScreenshot): Unable to capture screenshot")
            return await take(*arguments, **options)

        return call

    async def opened(context: object, hosts: Counter[str]) -> web_page.Tab:
        tab = await web_page.open_tab(context, hosts)
        tab.session.send, tab.page.screenshot = refusing(tab.session.send), refusing(tab.page.screenshot)
        return tab

    monkeypatch.setattr(web_page, "PAUSES_S", (0.01,) * len(web_page.PAUSES_S))
    monkeypatch.setattr(web, "open_tab", opened)
    return refused
