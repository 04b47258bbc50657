"""The same page, the same bytes: what would leave, move out of reach or differ from run to run does not.

`RRVF_TIMES=20` draws each page so often.
"""

import os

import pytest

from actors.contracts import RenderResult
from configs.schema import Render
from serving.render.web import WebRenderer

TIMES = int(os.environ.get("RRVF_TIMES", "4"))
MOVES = (
    "<style>@keyframes k { from { margin-left: 0 } to { margin-left: 300px } } p { animation: k 1s infinite }</style>"
)
MARKUP = {
    "refresh": "<meta http-equiv=refresh content='0;url=about:blank'><h1>stays</h1>",
    "refresh by entities": "<meta HTTP-EQUIV='refr&#101;sh' content='0; url=about:blank'><h1>stays</h1>",
    "refresh in a frame": "<iframe srcdoc=\"<meta http-equiv=refresh content='0;url=about:blank'>in\"></iframe>",
    "closed shadow root": f"<div><template shadowrootmode=closed>{MOVES}<p>m</p><progress></progress></template></div>",
    "nested shadow roots": "<div><template shadowrootmode=open><div><template shadowrootmode=closed>"
    f"{MOVES}<p>moves<marquee>m</marquee></template></div></template></div>",
}
STATEMENTS = (
    "crypto.getRandomValues(new Uint8Array(4)).join()", "crypto.randomUUID()", "Math.random()", "performance.now()",
    "performance.timeOrigin", "JSON.stringify(performance.getEntries())", "document.timeline.currentTime", "Date.now()",
    "document.lastModified", "new Event('x').timeStamp", "typeof Worker + typeof SharedWorker",
    "new File([], 'x').lastModified", "new Date().toISOString() + Date() + new Date(2020, 1) + Date.UTC(2020)",
    "new Intl.DateTimeFormat('en', {second: 'numeric', fractionalSecondDigits: 3}).format()",
    "performance.mark('x').startTime + performance.measure('y').duration", "JSON.stringify(performance)",
    "new MediaStream().id + typeof RTCPeerConnection", "String(navigator.connection) + navigator.hardwareConcurrency",
    "[screen.width, screen.height, innerWidth, innerHeight, devicePixelRatio]", "typeof Temporal == 'object' ? "
    "Temporal.Now.instant() + '' + Temporal.Now.plainDateISO() : ''", "document.body.animate([], 99).startTime",
)  # fmt: skip
SCRIPTS = {
    **{text: f"<p id=a><script>a.textContent = {text}</script>" for text in STATEMENTS},
    "times of frames": "<iframe id=f></iframe><p id=a><script>const w = f.contentWindow; a.textContent = "
    "[w.Date.now(), new w.Date().getFullYear(), w.performance.now(), w.Math.random(), "
    "new w.File([], 'x').lastModified]",
    "time of an observer": "<p id=a><script>new IntersectionObserver(e => a.textContent = e[0].time).observe(a)",
    "time that is left": "<p id=a><script>requestIdleCallback(d => a.textContent = d.timeRemaining())",
    "closed by script": "<div id=a></div><script>a.attachShadow({mode: 'closed'}).innerHTML = `"
    + MOVES
    + "<p>x`</script>",
}


async def drawn(pages: dict[str, str], javascript: bool) -> dict[str, list[RenderResult]]:
    renderer = WebRenderer(Render(javascript=javascript))
    try:
        return {name: [await renderer.render(page) for _ in range(TIMES)] for name, page in pages.items()}
    finally:
        await renderer.close()


@pytest.mark.parametrize(("javascript", "pages"), [(False, MARKUP), (True, MARKUP | SCRIPTS)])
async def test_a_page_has_the_same_bytes_every_time(javascript: bool, pages: dict[str, str]) -> None:
    found = await drawn(pages, javascript)
    assert [name for name, results in found.items() if not all(result.ok for result in results)] == []
    assert [name for name, results in found.items() if len({result.png for result in results}) != 1] == []


async def test_a_refresh_takes_nothing_away() -> None:
    plain = "<!DOCTYPE html><title>t</title><h1>stays</h1><p class=a>text"
    refreshing = plain.replace("<title>", "<meta http-equiv=refresh content='0;url=about:blank'><title>")
    found = await drawn({"plain": plain, "refreshing": refreshing}, False)
    assert found["plain"][0].png == found["refreshing"][0].png is not None


async def test_scripts_find_themselves_in_the_year_that_is_meant_and_dates_stay_dates() -> None:
    expression = "[new Date().toISOString(), new Date(0) instanceof Date, Date.name, Date.parse('2020'), typeof Date(),"
    expression += (
        " class extends Date {}.now(), new (class extends Date {})().getTime(), Object.prototype.toString.call("
    )
    expression += "new Date()), new Date(2020, 1, 2).getDate(), structuredClone(new Date(5)).getTime()].join()"
    wanted = "2025-01-01T00:00:00.000Z,true,Date,1577836800000,string,1735689600000,1735689600000,[object Date],2,5"
    found = await drawn(
        {"script": f"<p id=a><script>a.textContent = {expression}</script>", "text": f"<p id=a>{wanted}"}, True
    )
    assert found["script"][0].png == found["text"][0].png is not None
