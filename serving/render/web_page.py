"""One tab of a browser: a page's source in, PNG of the whole page out, over the DevTools protocol.

Guarantees: a page is photographed when it and its fonts have loaded, with its animations at their end (endless ones at
their start), nothing else that moves moving, and without a blinking caret, but for two things that nobody reaches: SVG
files as pictures that a style sheet of their own animates, and marquees and progress bars within frames. What asks the
page runs in a world that neither its scripts nor the names in its markup (`<img name=body>`) reach; a page that leaves
for another address is photographed there. Three calls a page, where a browser library's general ones are a dozen.
"""

import asyncio
import base64
from collections import Counter
from dataclasses import dataclass
from typing import Any

from configs.schema import Render

# in the error of a call that a page did not wait for; of one that closed, or whose browser died, it says "closed"
LEFT = ("Inspected target navigated", "Execution context was destroyed", "Cannot find context")
# of a compositor without a frame yet, as in a browser that just started on a busy machine: asked again, it answers
REFUSED = "Unable to capture screenshot"
MAX_WIDTH, MAX_PIXELS = 8192, 21_000_000  # of a page's picture
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)  # between two such questions
# Writes a document, or takes the one that is there, waits until it and its fonts have loaded, brings it to rest and
# returns its width, its height and whether it hides what overflows its sides. What would make it leave (a refresh) or
# hide movement from this script (closed shadow roots) is taken out of the source first.
SHOW = """async source => {
  const plain = html => {
    const parsed = new DOMParser().parseFromString(html, 'text/html');
    const parts = [parsed];
    let changed = false;
    for (const part of parts) {
      for (const meta of part.querySelectorAll('meta[http-equiv=refresh i]')) { meta.remove(); changed = true; }
      for (const template of part.querySelectorAll('template')) {
        if (/^closed$/i.test(template.getAttribute('shadowrootmode'))) {
          template.setAttribute('shadowrootmode', 'open');
          changed = true;
        }
        parts.push(template.content);
      }
      for (const frame of part.querySelectorAll('iframe[srcdoc]')) {
        const inner = plain(frame.getAttribute('srcdoc'));
        if (inner != frame.getAttribute('srcdoc')) { frame.setAttribute('srcdoc', inner); changed = true; }
      }
    }
    if (!changed) return html;
    const kind = parsed.doctype;
    const ids = kind && (kind.publicId ? ` PUBLIC "${kind.publicId}" "${kind.systemId}"` : '');
    return (kind ? `<!DOCTYPE ${kind.name}${ids}>` : '') + parsed.documentElement.outerHTML;
  };
  if (source != null && /http-equiv|shadowrootmode/i.test(source)) source = plain(source);
  if (source != null) document.open();
  const loaded = new Promise(done => window.addEventListener('load', done, {once: true}));
  if (source != null) {
    document.write(source);
    document.close();
  }
  if (source != null || document.readyState != 'complete') await loaded;
  await document.fonts.ready;
  const still = new CSSStyleSheet();
  still.replaceSync(':focus, :focus * { caret-color: transparent !important }');
  document.adoptedStyleSheets = [still];
  const roots = [document];
  for (const root of roots) {
    for (const marquee of root.querySelectorAll('marquee')) {
      const begun = marquee.cloneNode(true); // stopped before its first frame, its text stands where it is written
      marquee.replaceWith(begun);
      for (const one of [begun, ...begun.querySelectorAll('marquee')]) one.stop();
    }
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot instanceof ShadowRoot) roots.push(element.shadowRoot);
      if (element instanceof SVGSVGElement) { element.setCurrentTime(0); element.pauseAnimations(); }
      if (element instanceof HTMLProgressElement && element.position < 0) element.value = 0;
    }
    for (const animation of root.getAnimations())
      try { animation.finish(); } catch { animation.cancel(); }
  }
  const both = [document.documentElement, document.body].filter(element => element);
  const cut = both.some(element => /hidden|clip/.test(getComputedStyle(element).overflowX));
  return [...['scrollWidth', 'scrollHeight'].map(side => Math.max(0, ...both.map(element => element[side]))), cut];
}"""


class Crashed(Exception):
    """The page's own process died."""


class Unseen(Exception):
    """The browser gives no picture, however often it is asked."""


class Failed(Exception):
    """The page got in the way of its own drawing, for instance by leaving; the browser is well."""


@dataclass(eq=False)
class Tab:
    """A context with its one page, the session that drives it, whether that crashed, and its documents so far."""

    context: Any
    page: Any
    session: Any
    frame: str
    crashed: asyncio.Event
    refused: Counter[str]  # hosts that the page asked for
    documents: int = 0


async def open_tab(context: Any, refused: Counter[str]) -> Tab:
    """The first page of a context. `refused`: what counts the hosts that its pages ask for."""
    page, crashed = await context.new_page(), asyncio.Event()
    page.on("crash", lambda _: crashed.set())
    session = await context.new_cdp_session(page)
    tree = await session.send("Page.getFrameTree")
    return Tab(context, page, session, tree["frameTree"]["frame"]["id"], crashed, refused)


async def draw(tab: Tab, source: str, render: Render) -> bytes:
    """PNG of one page. Raises Crashed, Unseen, Failed, or what Playwright raises; has no deadline of its own."""
    drawing = asyncio.ensure_future(_draw(tab, source, render))
    crash = asyncio.ensure_future(tab.crashed.wait())
    try:
        await asyncio.wait({drawing, crash}, return_when=asyncio.FIRST_COMPLETED)
        if tab.crashed.is_set():
            raise Crashed
        return await drawing
    finally:
        for task in (drawing, crash):
            task.cancel()
        await asyncio.gather(drawing, crash, return_exceptions=True)


async def _show(tab: Tab, source: str) -> tuple[int, int, bool]:
    """Width and height of the page, which has come to rest, and whether it hides what is wider than its window. Raises
    Failed, or what Playwright raises."""
    from playwright.async_api import Error

    written: str | None = source
    while True:
        try:
            world = await tab.session.send("Page.createIsolatedWorld", {"frameId": tab.frame})
            shown = await tab.session.send(
                "Runtime.callFunctionOn",
                {
                    "functionDeclaration": SHOW, "arguments": [{"value": written}], "awaitPromise": True,
                    "returnByValue": True, "executionContextId": world["executionContextId"],
                },
            )  # fmt: skip
        except Error as error:
            if not any(mark in str(error) for mark in LEFT):
                raise
            written = None
            continue
        if "exceptionDetails" in shown:
            message = shown["exceptionDetails"].get("exception", {}).get("description", "")
            raise Failed(message.partition("\n")[0][:200])
        width, height, cut = shown["result"]["value"]
        return int(width), int(height), bool(cut)


async def _draw(tab: Tab, source: str, render: Render) -> bytes:
    from playwright.async_api import Error

    size = await _show(tab, source)
    for pause_s in PAUSES_S:
        try:
            return await _photograph(tab, size, render)
        except Error as error:
            if REFUSED not in str(error):
                raise
        await asyncio.sleep(pause_s)
    raise Unseen


async def _photograph(tab: Tab, size: tuple[int, int, bool], render: Render) -> bytes:
    least_width, least_height = render.viewport
    wanted, tall, cut = size
    width = max(least_width, 0 if cut and not render.full_width else min(wanted, MAX_WIDTH))
    height = max(least_height, min(tall, render.max_height, MAX_PIXELS // width))
    clip = {"x": 0, "y": 0, "width": width, "height": height}
    if len(tab.page.frames) > 1:  # a frame's document is out of our script's reach, and not of Playwright's
        return await tab.page.screenshot(
            full_page=True, clip=clip, animations="disabled", caret="hide", timeout=1000 * render.sandbox.wall_s
        )
    taken = await tab.session.send(
        "Page.captureScreenshot",
        {"format": "png", "clip": {**clip, "scale": 1}, "captureBeyondViewport": True, "optimizeForSpeed": True},
    )
    return base64.b64decode(taken["data"])


async def empty(tab: Tab) -> None:
    """Replace the document by a new, empty one: a document keeps more than its text, policies and the address say."""
    gone = await tab.session.send("Page.navigate", {"url": "about:blank"})
    if "errorText" in gone:
        raise Failed(gone["errorText"])
