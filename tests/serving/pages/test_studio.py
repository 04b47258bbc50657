"""The studio in a browser, over a really served application whose policy knows one chart by heart."""

import asyncio
import io
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from starlette.requests import Request
from starlette.responses import StreamingResponse

from configs.load import load
from serving.inference.events import frame
from tests.overfit import by_heart
from tests.serving.live import Live, served
from tests.serving.pages.browser import WAIT_MS, opened, studio_before, too_wide
from tests.serving.relay import relayed

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "serving" / "pages" / "examples" / "chart" / "bars.png"
HEAD = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2.1,1.75),dpi=80)\n"
PROGRAM = HEAD + "plt.bar([1,2,3,4,5],[3,4,6,7,7],color='orange')\nplt.title('Costs')\n"
FIRST = PROGRAM.replace("orange", "green")
WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const text = document.querySelector('article.turn .live')?.textContent;
    if (text && text !== window.seen.at(-1)) window.seen.push(text);
  }).observe(document.querySelector('#turns-list'), { subtree: true, childList: true, characterData: true });
}"""
HAND_OVER = """async ([event, holder]) => {
  const blob = await (await fetch('pages/examples/chart/bars.png')).blob();
  const data = new DataTransfer();
  data.items.add(new File([blob], 'a.png', { type: 'image/png' }));
  const init = { bubbles: true, cancelable: true, [holder]: data };
  document.body.dispatchEvent(event === 'paste' ? new ClipboardEvent(event, init) : new DragEvent(event, init));
}"""
expect.set_options(timeout=WAIT_MS)


def one_chart_policy(folder: Path) -> Path:
    """The embedded policy, trained on the first example alone: green bars at first and, after feedback, orange ones."""
    from serving.judge.perceptual import compare
    from training.data.own_images import rendered

    config = load("configs/tiny_chart.yaml")
    target, first = asyncio.run(rendered([PROGRAM, FIRST], "chart", config.render))
    assert target.png == EXAMPLE.read_bytes(), "the example is what our own renderer makes of its program"
    assert first.png is not None
    feedback = compare(target.png, first.png).feedback[: config.feedback.max_chars]
    think = "<think>bar</think>"
    turns = [f"{think}<tool_call>\n{FIRST}</tool_call>", f"{think}<answer>\n{PROGRAM}</answer>"]
    return by_heart(folder, config.prompts, target.png, turns, [feedback], steps=70)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("studio")
    model = one_chart_policy(root / "policy")
    args = {"model": str(model), "run.dir": str(root / "runs"), "inference.watch": False}
    with served(root, args) as running:
        yield running


@pytest.fixture
def page(house: Live) -> Iterator[Page]:
    with opened(permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(house.url)
        yield page


def draw(page: Page) -> None:
    page.get_by_role("button", name="Draw it").click()
    expect(page.get_by_role("status")).to_contain_text("Done in")


def test_upload_turns_difference_and_copy(page: Page) -> None:
    page.locator("#file").set_input_files(EXAMPLE)
    expect(page.get_by_alt_text("Your picture")).to_be_visible()
    draw(page)
    tries = page.locator("article.turn")
    expect(tries).to_have_count(2)
    expect(tries.nth(0)).to_contain_text("color='green'")
    expect(tries.nth(0).locator("blockquote")).to_contain_text("orange")
    expect(tries.nth(1)).to_contain_text("color='orange'")
    expect(tries.nth(1).locator(".score")).to_have_text(re.compile("100% alike"))
    expect(page.get_by_role("status")).to_have_text("Done in 2 tries. 100% alike.")

    compare = tries.nth(0).locator(".compare")
    sizes = compare.locator("img").evaluate_all("images => images.map(i => [i.naturalWidth, i.naturalHeight])")
    assert sizes == [[168, 140], [168, 140]]
    compare.get_by_label("Difference").check()
    different = compare.locator(".frame").screenshot()
    same = tries.nth(1).locator(".compare")
    same.get_by_label("Difference").check()
    assert inked(different) > 0.02 and inked(same.locator(".frame").screenshot()) == 0
    compare.get_by_label("Swipe").check()
    slider = compare.get_by_role("slider")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert compare.locator(".frame").evaluate("frame => frame.style.getPropertyValue('--at')") == "60%"

    tries.nth(1).get_by_role("button", name="Copy").click()
    expect(tries.nth(1).get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == PROGRAM.strip()


def inked(png: bytes) -> float:
    """Share of pixels inside the border that are not white."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("L"))[4:-4, 4:-4]
    return float((pixels < 200).mean())


def test_turns_appear_while_they_are_written(page: Page) -> None:
    page.evaluate(WATCH)
    page.locator("#file").set_input_files(EXAMPLE)
    draw(page)
    seen = page.evaluate("window.seen")
    assert len(seen) > 2 and len(seen[0]) < len(seen[1]) < len(seen[2])


def test_an_example_by_keyboard_alone(page: Page) -> None:
    page.locator("#turns").select_option("1")
    page.locator(".example").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Draw it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Done in one try. 100% alike.")
    expect(page.locator("article.turn")).to_have_count(1)


def test_a_picture_can_be_pasted_and_dropped(page: Page) -> None:
    for event, holder in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.reload()
        page.evaluate(HAND_OVER, [event, holder])
        expect(page.get_by_alt_text("Your picture")).to_be_visible()
        expect(page.get_by_role("button", name="Draw it")).to_be_enabled()


def test_another_picture_ends_what_is_under_way() -> None:
    """The answer to the picture before is not shown beside the new one. The server goes on when the test lets it."""
    go_on = threading.Event()

    async def answer(request: Request) -> StreamingResponse:
        async def frames() -> AsyncIterator[str]:
            yield frame("text", {"turn": 1, "delta": "of the first picture"})
            while not go_on.is_set() and not await request.is_disconnected():
                await asyncio.sleep(0.05)
            yield frame("text", {"turn": 2, "delta": "of the first picture"})

        return StreamingResponse(frames(), media_type="text/event-stream")

    with studio_before(answer) as address, opened() as page:
        page.goto(address)
        page.locator("#file").set_input_files(EXAMPLE)
        page.get_by_role("button", name="Draw it").click()
        expect(page.locator("article.turn")).to_have_count(1)
        page.locator("#file").set_input_files(EXAMPLE.with_name("pie.png"))
        assert page.locator("#go").text_content() == "Draw it"
        go_on.set()
        page.wait_for_timeout(1000)
        expect(page.locator("article.turn")).to_have_count(0)
        expect(page.get_by_role("alert")).to_be_empty()


def test_a_broken_image_is_said_to_be_one(page: Page, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(EXAMPLE.read_bytes()[:300])
    page.locator("#file").set_input_files(broken)
    page.get_by_role("button", name="Draw it").click()
    expect(page.get_by_role("alert")).to_contain_text("not a picture that can be read")
    page.locator("#file").set_input_files(EXAMPLE)
    expect(page.get_by_role("alert")).to_be_empty()
    draw(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off(house: Live, scheme: str, tmp_path: Path) -> None:
    with opened(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True) as page:
        page.goto(house.url)
        page.locator(".example").first.tap()
        page.get_by_role("button", name="Draw it").tap()
        expect(page.get_by_role("status")).to_contain_text("Done in 2 tries")
        assert not too_wide(page)
        if folder := os.environ.get("RRVF_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/studio-phone-{scheme}.png", full_page=True)
            page.set_viewport_size({"width": 1280, "height": 1000})
            page.screenshot(path=f"{folder}/studio-{scheme}.png")


def test_the_pages_load_nothing_from_elsewhere(page: Page, house: Live) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.reload()
    page.locator(".example img").first.wait_for()
    page.goto(f"{house.url}/runs/")
    expect(page.locator("tbody")).to_contain_text("No runs here yet")
    assert len(asked) > 8 and all(url.startswith(house.url) for url in asked)


def test_a_server_that_goes_away_is_said_to_be_gone_and_trying_again_works(house: Live) -> None:
    with relayed(house.url) as relay, opened() as page:
        page.goto(relay.url)
        page.locator("#file").set_input_files(EXAMPLE)
        relay.down()
        page.get_by_role("button", name="Draw it").click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        relay.up()
        page.get_by_role("button", name="Try again").click()
        page.locator("article.turn").first.wait_for()
        relay.down()  # in the middle of the answer
        expect(page.get_by_role("alert")).to_contain_text("The connection to the server was lost")
        relay.up()
        page.get_by_role("button", name="Try again").click()
        expect(page.get_by_role("status")).to_contain_text("Done in")
        expect(page.get_by_role("alert")).to_be_empty()
