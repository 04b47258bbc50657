"""Hostile pages end as they should and reach nothing; good ones always give the same bytes."""

import asyncio
import io
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.contracts import Outage, RenderResult
from configs.schema import Render, Sandbox
from serving.web import BrowserMissing, WebRenderer, find_browser
from tests.serving.hostile_pages import ATTACKS, source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REFERENCE = "<h1 style='color:teal'>Reference</h1><p style='animation: k 1s infinite'>text</p>"
SCRIPTED = Render(javascript=True, concurrency=3, sandbox=Sandbox(wall_s=6))
SECRET = "canary-8d1f"


@dataclass
class Field:
    """What the attacks left: their results, the reference before and after, and the canaries."""

    results: dict[str, RenderResult] = field(default_factory=dict)
    references: list[bytes | None] = field(default_factory=list)
    contacts: int = 0


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Every attack once with scripts on, three at a time, a reference page before and after."""
    found = Field()
    file = tmp_path_factory.mktemp("outside") / "secret.html"
    file.write_text(f"<body style='background:#00ff01'>{SECRET}")
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        places = {"FILE": file, "TCP": tcp.getsockname()[1], "UDP": udp.getsockname()[1]}
        asyncio.run(_fight(found, places))
        for listener in (tcp, udp):
            listener.setblocking(False)
            try:
                listener.accept() if listener is tcp else listener.recv(1)
                found.contacts += 1
            except BlockingIOError:
                pass
    return found


async def _fight(found: Field, places: dict[str, object]) -> None:
    renderer = WebRenderer(SCRIPTED)
    found.references.append((await renderer.render(REFERENCE)).png)

    async def attack(name: str, page: str) -> None:
        found.results[name] = await renderer.render(source(page, **places))

    await asyncio.gather(*(attack(name, page) for name, _, page in ATTACKS))
    found.references.append((await renderer.render(REFERENCE)).png)
    await renderer.close()
    fresh = WebRenderer(SCRIPTED)
    found.references.append((await fresh.render(REFERENCE)).png)
    await fresh.close()


def leaked(png: bytes) -> bool:
    """Whether the green that only a successful attack shows is in the picture."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return bool((pixels == (0, 255, 1)).all(axis=2).sum() > 100)


@pytest.mark.parametrize(("name", "outcomes"), [(name, outcomes) for name, outcomes, _ in ATTACKS])
def test_an_attack_ends_as_it_should(battle: Field, name: str, outcomes: tuple[str, ...]) -> None:
    result = battle.results[name]
    assert (result.kind or "ok") in outcomes, result.message
    assert result.ok or result.message
    if result.png is not None:
        assert not leaked(result.png)
        assert result.size is not None and result.size[0] == 1280 and 720 <= result.size[1] <= 8192


def test_no_canary_was_reached_and_the_next_page_is_drawn_as_on_a_fresh_browser(battle: Field) -> None:
    assert battle.contacts == 0
    assert battle.references[0] is not None
    assert battle.references[0] == battle.references[1] == battle.references[2]


def test_the_test_would_see_a_leak() -> None:
    async def run() -> RenderResult:
        renderer = WebRenderer(SCRIPTED)
        result = await renderer.render("<div id=leak style='width:400px;height:400px;background:#00ff01'></div>")
        await renderer.close()
        return result

    png = asyncio.run(run()).png
    assert png is not None and leaked(png)


async def test_scripts_are_off_by_default_and_the_clock_and_chance_stand_still_when_on() -> None:
    page = "<noscript>off</noscript><p id=p></p><script>p.textContent = Date.now() + ' ' + Math.random()</script>"
    pictures = []
    for settings in (Render(), Render(javascript=True), Render(javascript=True)):
        renderer = WebRenderer(settings)
        pictures.append((await renderer.render(page)).png)
        await renderer.close()
    assert pictures[0] != pictures[1] == pictures[2]


async def test_a_killed_browser_is_replaced_and_an_old_one_retired() -> None:
    renderer = WebRenderer(Render(browser_pages=3))
    first = await renderer.render(REFERENCE)
    os.kill(renderer.pids[0], 9)
    second = await renderer.render(REFERENCE)
    assert renderer.launches == 2
    for _ in range(3):
        third = await renderer.render(REFERENCE)
    assert renderer.launches == 3
    await renderer.close()
    assert first.ok and first.png == second.png == third.png


async def test_a_page_of_too_many_bytes_fails_without_a_browser() -> None:
    renderer = WebRenderer(Render(sandbox=Sandbox(max_source_bytes=10)))
    result = await renderer.render("x" * 11)
    assert result.kind == "too_large" and "10 bytes" in result.message and renderer.launches == 0


async def test_a_browser_that_does_not_start_is_an_outage_and_a_missing_one_names_the_commands() -> None:
    renderer = WebRenderer(Render(browser="/bin/true"))
    with pytest.raises(Outage, match="browser does not start"):
        await renderer.render(REFERENCE)
    await renderer.close()
    with pytest.raises(BrowserMissing, match=r"render\.browser=/no/such"):
        find_browser("/no/such", "")


def test_a_machine_without_a_browser_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserMissing, match=r"apt-get install chromium-headless-shell.*playwright install"):
        find_browser("", "/nowhere/chrome")


def test_real_pages_render_and_give_the_same_bytes_on_another_browser_at_another_concurrency() -> None:
    pages = [path.read_text() for path in sorted((DATA / "web").glob("*.html"))]

    async def run(concurrency: int) -> list[RenderResult]:
        renderer = WebRenderer(Render(concurrency=concurrency))
        results = await asyncio.gather(*(renderer.render(page) for page in pages))
        await renderer.close()
        return results

    one, other = asyncio.run(run(1)), asyncio.run(run(3))
    assert len(one) == 30 and all(result.ok for result in one)
    assert [result.png for result in one] == [result.png for result in other]
