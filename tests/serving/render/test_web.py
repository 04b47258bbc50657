"""Hostile pages end as they should and reach nothing; good ones always give the same bytes."""

import asyncio
import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.contracts import Outage, RenderResult
from configs.schema import Render, Sandbox, Workers
from serving.render import web
from serving.render.web import WebRenderer
from serving.render.web_browser import BrowserMissing, find_browser
from tests.data import real
from tests.serving.jailed.canaries import GREEN, Canaries, knows_the_secret, secret_in_environment
from tests.serving.render.hostile_pages import ATTACKS, source

REFERENCE = """<h1 style='color:teal'>Reference</h1><p style='animation: k 1s infinite'>text <a href='#t' id=t>link</a>
<style>:target { background: red }</style><input value=x>
<img src="data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><circle r='9'/></svg>">
"""
# four squares that animations would paint red, a field with a red caret, and names that pass for the document's own
RESTLESS = """<style>@keyframes k { to { background: red } } div, p { width: 60px; height: 60px; margin: 0 }</style>
<style>@keyframes end { from { background: red } to { background: rgb(1, 2, 3) } }</style>
<div style='animation: end 60s 60s forwards'></div>
<div style='background: rgb(4, 5, 6); animation: k .1s infinite'></div>
<div><template shadowrootmode=open><style>@keyframes k { to { background: red } }
b { display: block; height: 60px; background: rgb(7, 8, 9); animation: k .1s infinite }</style><b></b></template></div>
<svg width=60 height=60 style='display: block'><rect width=60 height=60 fill='rgb(10, 11, 12)'>
<animate attributeName=fill to=red dur=.1s repeatCount=indefinite /></rect></svg>
<input autofocus style='display: block; border: 0; height: 60px; font-size: 50px; caret-color: red'>
<style>:focus { background: rgb(13, 14, 15) }</style><p style='height: 2000px'></p>
<img name=body><img name=documentElement><form name=fonts></form><img name=querySelectorAll><img name=getAnimations>
<marquee>a<marquee>round</marquee></marquee><progress></progress><img src="data:image/gif;base64,$GIF">"""
SCRIPTED = Render(javascript=True, web=Workers(concurrency=2), sandbox=Sandbox(wall_s=120))
HASTY = Render(javascript=True, sandbox=Sandbox(wall_s=5))
PLAIN = Render(sandbox=Sandbox(wall_s=120))


@dataclass
class Seen:
    """One attack: how it ended, the reference drawn next, and the canaries it reached."""

    result: RenderResult
    next: bytes | None
    reached: list[str]


@dataclass
class Battle:
    """Every attack by name, with scripts on and off, and the reference on a browser that nobody attacked."""

    scripted: dict[str, Seen] = field(default_factory=dict)
    plain: dict[str, Seen] = field(default_factory=dict)
    fresh: bytes | None = None
    knows: bool = True


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Battle:
    """Every attack once with scripts on; without scripts those that need none, all in one context."""
    found = Battle()
    with secret_in_environment():
        asyncio.run(_fight(found, tmp_path_factory.mktemp("outside")))
    return found


async def _reference(renderer: WebRenderer) -> bytes | None:
    for _ in range(5):  # on a busy machine even a good page may miss a hasty deadline
        result = await renderer.render(REFERENCE)
        if result.kind != "timeout":
            break
    return result.png


async def _fight(found: Battle, folder: Path) -> None:
    hasty = [attack for attack in ATTACKS if "timeout" in attack[1]]
    patient = [attack for attack in ATTACKS if "timeout" not in attack[1]]
    markup = [attack for attack in patient if "<script" not in attack[2]]

    async def side(
        renderer: WebRenderer, attacks: list[tuple[str, tuple[str, ...], str]], seen: dict[str, Seen], where: Path
    ) -> None:
        for name, _, page in attacks:
            canaries = Canaries(where / name)
            result = await renderer.render(source(page, **canaries.places))
            seen[name] = Seen(result, await _reference(renderer), canaries.reached())
            canaries.close()

    for sort in ("scripts", "hasty", "markup"):
        (folder / sort).mkdir()
    scripted, quick, plain, fresh = map(WebRenderer, (SCRIPTED, HASTY, PLAIN, PLAIN))
    await asyncio.gather(
        side(scripted, patient[::2], found.scripted, folder / "scripts"),
        side(scripted, patient[1::2], found.scripted, folder / "scripts"),
        side(quick, hasty, found.scripted, folder / "hasty"),
        side(plain, markup, found.plain, folder / "markup"),
    )
    assert plain.launches == 1
    found.knows = knows_the_secret(plain.pids[0])
    found.fresh = await _reference(fresh)
    for renderer in (scripted, quick, plain, fresh):
        await renderer.close()


def leaked(png: bytes) -> bool:
    """Whether the green that only a successful attack shows is in the picture."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return bool((pixels == GREEN).all(axis=2).sum() > 100)


def check(seen: Seen, outcomes: tuple[str, ...], fresh: bytes | None) -> None:
    result = seen.result
    assert (result.kind or "ok") in outcomes, result.message
    assert result.ok or result.message
    assert seen.reached == []
    assert seen.next == fresh is not None
    if result.png is not None:
        assert not leaked(result.png)
        assert result.size is not None and 1280 <= result.size[0] <= 8192 and 720 <= result.size[1] <= 8192


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS) >= 40


@pytest.mark.parametrize(("name", "outcomes"), [(name, outcomes) for name, outcomes, _ in ATTACKS])
def test_an_attack_ends_as_it_should_and_the_next_page_is_drawn_as_on_a_fresh_browser(
    battle: Battle, name: str, outcomes: tuple[str, ...]
) -> None:
    check(battle.scripted[name], outcomes, battle.fresh)


def test_pages_without_scripts_share_a_context_and_leave_nothing_in_it(battle: Battle) -> None:
    assert len(battle.plain) >= 30
    for seen in battle.plain.values():
        check(seen, ("ok",), battle.fresh)


def test_no_browser_knows_the_secret(battle: Battle) -> None:
    assert not battle.knows


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


@pytest.mark.parametrize("javascript", [False, True])
async def test_what_moves_stands_still_and_names_in_the_markup_mislead_nobody(javascript: bool) -> None:
    moving = io.BytesIO()
    frames = [Image.new("RGB", (60, 60), colour) for colour in ("green", "blue")]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:], duration=20, loop=0)
    page = RESTLESS.replace("$GIF", base64.b64encode(moving.getvalue()).decode())
    renderer, results = WebRenderer(Render(javascript=javascript)), []
    for pause in range(6):
        results.append(await renderer.render(page))
        await asyncio.sleep(0.013 * pause)
    await renderer.close()
    assert len({result.png for result in results}) == 1
    assert results[0].png is not None and results[0].size is not None and 2300 < results[0].size[1] < 2500
    with Image.open(io.BytesIO(results[0].png)) as picture:
        squares = [picture.convert("RGB").getpixel((38, y)) for y in (38, 98, 158, 218, 278)]
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**24)}
    assert squares == [(1, 2, 3), (4, 5, 6), (7, 8, 9), (10, 11, 12), (13, 14, 15)]
    assert (255, 0, 0) not in colours


async def test_a_context_is_left_after_its_share_and_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "TAB_PAGES", 3)
    renderer = WebRenderer(PLAIN)
    made = []
    make = renderer._tab

    async def counted(browser: object) -> object:
        made.append(browser)
        return await make(browser)  # type: ignore[arg-type]

    monkeypatch.setattr(renderer, "_tab", counted)
    for count, expected in ((2, 1), (1, 1), (1, 2)):
        for _ in range(count):
            assert (await renderer.render(REFERENCE)).ok
        assert len(made) == expected
    monkeypatch.setattr(web, "draw", None)
    assert (await renderer.render(REFERENCE)).kind == "exception"
    monkeypatch.undo()
    assert renderer._browser is not None and renderer._browser.idle == []
    await renderer.close()


async def test_a_page_whose_scripts_take_more_memory_than_a_browser_may_have_ends() -> None:
    """L5: its browser is looked at while the page runs, not every so many pages."""
    renderer = WebRenderer(Render(javascript=True, browser_mb=900, sandbox=Sandbox(wall_s=120)))
    first = await renderer.render(REFERENCE)
    # without its memory looked at it ends, with a picture
    result = await renderer.render(
        "<script>const a = []; while (a.length < 40) a.push(new Uint8Array(1e8).fill(1))</script><p>x"
    )
    assert first.ok and result.kind == "crashed", result.message
    assert (await renderer.render(REFERENCE)).png == first.png
    await renderer.close()


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


def test_a_machine_without_a_browser_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BrowserMissing, match=r"apt-get install chromium-headless-shell.*playwright install"):
        find_browser("", "/nowhere/chrome")


def test_real_pages_render_and_give_the_same_bytes_on_another_browser_at_another_concurrency() -> None:
    pages = [path.read_text() for path in sorted(real("web").glob("*.html"))]

    async def run(concurrency: int) -> list[RenderResult]:
        renderer = WebRenderer(Render(web=Workers(concurrency=concurrency), sandbox=Sandbox(wall_s=120)))
        results = await asyncio.gather(*(renderer.render(page) for page in pages))
        await renderer.close()
        return results

    one, other = asyncio.run(run(1)), asyncio.run(run(3))
    assert len(one) == 30 and all(result.ok for result in one)
    assert [result.png for result in one] == [result.png for result in other]
