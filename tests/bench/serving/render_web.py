"""Pages: ours, with and without scripts, against a fresh browser a page and against one page that is reused.

All run the same jailed Chromium over the same real pages, one way after the other in every round: what a browser still
does for a page after its picture is out is paid for by the next page of the same way. A fresh browser draws every fifth
page and is set against our time for the same ones; the reused page goes by Playwright's own calls. Without scripts ours
shares a context with an empty document in between; with scripts a page has a context of its own.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from playwright.async_api import async_playwright

from configs.schema import Render, Workers
from serving.render import fonts
from serving.render.web import WebRenderer
from serving.render.web_browser import FLAGS, find_browser, wrapper
from tests.data import real

ROUNDS = 3
FRESH_EVERY = 5  # a fresh browser is slow: it draws one page in so many
HEIGHT = "Math.max(document.documentElement.scrollHeight, document.body ? document.body.scrollHeight : 0)"
CONTEXT = {"viewport": {"width": 1280, "height": 720}, "java_script_enabled": False, "offline": True}


async def measure() -> dict[str, float]:
    """Mean milliseconds of a page each way, over the pages that all three draw."""
    pages = [path.read_text() for path in sorted(real("web").glob("*.html"))]
    taken: dict[str, list[float]] = {
        "fresh": [],
        "its ours": [],
        "its reused": [],
        "ours": [],
        "scripted": [],
        "reused": [],
        "four at once": [],
    }

    async def timed(way: str, work: Callable[[], Awaitable[object]], count: int = 1) -> None:
        started = time.perf_counter()
        await work()
        taken[way].append((time.perf_counter() - started) / count)

    ours, wide = WebRenderer(Render()), WebRenderer(Render(web=Workers(concurrency=4)))
    scripted = WebRenderer(Render(javascript=True))
    with tempfile.TemporaryDirectory() as folder:
        async with async_playwright() as playwright:
            script = Path(folder) / "browser"
            path = find_browser("", playwright.chromium.executable_path)
            config = Path(folder) / "fonts.conf"
            config.write_text(fonts.config(fonts.INSIDE, "/tmp/fontconfig"))
            script.write_text(wrapper(path, Path(folder) / "pid", config, namespaces=True))
            script.chmod(0o755)

            async def launch() -> object:
                return await playwright.chromium.launch(
                    executable_path=str(script), args=list(FLAGS), chromium_sandbox=True, env={"HOME": "/tmp"}
                )

            async def draw(page: object, source: str) -> None:
                await page.set_content(source, wait_until="load")  # type: ignore[attr-defined]
                height = max(720, min(8192, await page.evaluate(HEIGHT)))  # type: ignore[attr-defined]
                clip = {"x": 0, "y": 0, "width": 1280, "height": height}
                await page.screenshot(full_page=True, clip=clip, animations="disabled", caret="hide")  # type: ignore[attr-defined]

            async def fresh(source: str) -> None:
                browser = await launch()
                await draw(await (await browser.new_context(**CONTEXT)).new_page(), source)  # type: ignore[attr-defined]
                await browser.close()  # type: ignore[attr-defined]

            browser = await launch()
            page = await (await browser.new_context(**CONTEXT)).new_page()  # type: ignore[attr-defined]
            await draw(page, pages[0])
            for renderer in (ours, wide, scripted):
                assert (await renderer.render(pages[0])).ok
            for _ in range(ROUNDS):
                for number, source in enumerate(pages):
                    await timed("ours", lambda source=source: ours.render(source))  # type: ignore[misc]
                    if number % FRESH_EVERY == 0:
                        taken["its ours"].append(taken["ours"][-1])
                for number, source in enumerate(pages):
                    await timed("reused", lambda source=source: draw(page, source))  # type: ignore[misc]
                    if number % FRESH_EVERY == 0:
                        taken["its reused"].append(taken["reused"][-1])
                for source in pages:
                    await timed("scripted", lambda source=source: scripted.render(source))  # type: ignore[misc]
                for source in pages[::FRESH_EVERY]:
                    await timed("fresh", lambda source=source: fresh(source))  # type: ignore[misc]
                every = lambda: asyncio.gather(*(wide.render(source) for source in pages))  # noqa: E731
                await timed("four at once", every, len(pages))
            await browser.close()  # type: ignore[attr-defined]
    await ours.close()
    await wide.close()
    await scripted.close()
    return {way: 1000 * statistics.mean(seconds) for way, seconds in taken.items()}


def main(out_dir: Path) -> dict:
    """Milliseconds a page and the two ratios."""
    ms = asyncio.run(measure())
    ratios = {
        "fresh/ours": ms["fresh"] / ms["its ours"],
        "fresh/reused": ms["fresh"] / ms["its reused"],
        "reused/ours": ms["reused"] / ms["ours"],
        "reused/scripted": ms["reused"] / ms["scripted"],
    }
    print(
        ", ".join(f"{way} {value:.0f} ms" for way, value in ms.items())
        + f": {ratios['fresh/ours']:.1f}x a fresh browser (a reused page "
        f"{ratios['fresh/reused']:.1f}x), {100 * ratios['reused/ours']:.0f}% of a reused page, "
        f"{100 * ratios['reused/scripted']:.0f}% with scripts on"
    )
    return {**{f"{way}_ms": value for way, value in ms.items()}, **ratios}
