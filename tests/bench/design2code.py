"""Design2Code's scores: one browser for all pages against a browser for each picture and a loop over its pixels.

The two ways take turns over a sample of the pairs with the original's figures. The other way is the published one in
its costs: three pictures a page, each by a Chromium of its own in a Python of its own; every pixel of two of them
compared in Python; one mask of the whole page for each text. Its merging is left out, which is to its advantage. With
a clone in RRVF_OFFICIAL it is the original's own code, over every pair.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from serving.render.web import WebRenderer
from serving.render.web_browser import find_browser
from tests.data import real
from tests.published import beside, clone_of
from tests.ratios import ratios
from training.metrics.design2code import score
from training.metrics.design2code.pages import SHIFT, cleaned, painted, texts
from training.metrics.official import PATIENT

SAMPLE = 3  # every so many pairs one is done both ways
PICTURE = """import sys
from playwright.sync_api import sync_playwright
with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=sys.argv[3], args=["--no-sandbox"])
    page = browser.new_page()
    page.goto("file://" + sys.argv[1], timeout=60000)
    page.screenshot(path=sys.argv[2], full_page=True, animations="disabled", timeout=60000)
    browser.close()
"""


def picture(page: str, folder: Path, name: str, browser: str) -> Image.Image:
    html, png = folder / f"{name}.html", folder / f"{name}.png"
    html.write_text(page, encoding="utf-8")
    command = [sys.executable, "-c", PICTURE, str(html), str(png), browser]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return Image.open(png).convert("RGB")


def blocks_by_pixel(page: str, folder: Path, browser: str) -> int:
    """The texts of a page that are found, the slow way."""
    picture(page, folder, "page", browser)
    sources = painted(page, 0), painted(page, SHIFT)
    first, second = (picture(source, folder, f"p{n}", browser) for n, source in enumerate(sources))
    one: Any = first.load()
    two: Any = second.load()
    moved = []
    for x in range(first.width):
        for y in range(first.height):
            if all(abs((a + SHIFT) % 256 - b) <= 8 for a, b in zip(one[x, y], two[x, y], strict=True)):
                moved.append((y, x))
    everywhere, found = np.asarray(first), 0
    text = {*moved}
    for _, colour in texts(sources[0]):
        low, high = np.clip(np.array(colour) - 4, 0, 255), np.clip(np.array(colour) + 4, 0, 255)
        mask = cv2.inRange(everywhere, low.astype(np.uint8), high.astype(np.uint8))
        found += any((int(y), int(x)) in text for y, x in zip(*np.where(mask), strict=True))
    return found


async def measure() -> list[tuple[float, float]]:
    folder = real("official") / "design2code"
    pairs: list[dict[str, Any]] = [json.loads(line) for line in (folder / "official.jsonl").read_text().splitlines()]
    renderer = WebRenderer(PATIENT)
    browser = find_browser("", "")
    both = []

    async def shoot(page: str) -> bytes | None:
        return (await renderer.render(page)).png

    try:
        await shoot("<p>x")  # the browser starts before the clock
        if clone := clone_of("design2code"):
            return await beside("design2code", clone, lambda golden, generated: score(golden, generated, shoot))
        for pair in pairs[::SAMPLE]:
            golden, generated = ((folder / pair[side]).read_text() for side in ("golden", "generated"))
            started = time.perf_counter()
            await score(golden, generated, shoot)
            ours = time.perf_counter() - started
            with tempfile.TemporaryDirectory() as scratch:
                started = time.perf_counter()
                for page in (golden, cleaned(generated)):
                    assert await asyncio.to_thread(blocks_by_pixel, page, Path(scratch), browser)
                both.append((ours, time.perf_counter() - started))
            print(f"{pair['generated']}: {both[-1][0]:.2f} s against {both[-1][1]:.1f} s", flush=True)
    finally:
        await renderer.close()
    return both


def main(out_dir: Path) -> dict:
    return ratios(asyncio.run(measure()))
