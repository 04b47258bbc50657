"""Real pages at other widths and in another typeface, and with one block recoloured, moved, gone, or of other words.

Guarantees: a block is the element whose text is nearest to BLOCK of the page's; a page that has none, or on which an
edit changes nothing, is left out; pictures are drawn once and kept in `.cache` until this file changes.
"""

import asyncio
import hashlib
import random
import re
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path

from bs4 import BeautifulSoup, NavigableString, Tag

from configs.schema import Render, Sandbox
from serving.render.web import WebRenderer
from tests.data import real

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "judge" / f"blocks-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
BLOCK, MOST = 0.15, 0.4  # of a page's text
WIDTHS = {"narrower": 0.93, "wider": 1.07}  # of the viewport
COSMETIC = (*WIDTHS, "serif")
WORDS = ("market", "river", "seven", "orange", "table", "window", "garden", "letter", "paper", "summer", "house", "of")


def _gone(block: Tag) -> None:
    block.decompose()


def _words(block: Tag) -> None:
    rng = random.Random(0)
    for text in block.find_all(string=True):
        if isinstance(text, NavigableString) and text.strip():
            text.replace_with(NavigableString(re.sub(r"\w+", lambda _: rng.choice(WORDS), str(text))))


def _recoloured(block: Tag) -> None:
    for tag in (block, *block.find_all(True)):
        tag["style"] = f"{tag.get('style', '')};color:#fff!important;background:#c2185b!important"


def _moved(block: Tag) -> None:
    other = block.find_next_sibling() or block.find_previous_sibling()
    assert isinstance(other, Tag)
    stand_in = copy(other)
    other.replace_with(copy(block))
    block.replace_with(stand_in)


FAULTS: dict[str, Callable[[Tag], None]] = {  # from the most harmful
    "block gone": _gone, "words": _words, "recoloured": _recoloured, "moved": _moved,
}  # fmt: skip
VERSIONS = ("base", *COSMETIC, *FAULTS)


def block_of(page: BeautifulSoup) -> Tag | None:
    """The element whose share of the page's text is nearest to BLOCK, with a neighbour to change places with."""
    body = page.body
    if body is None:
        return None
    whole = max(1, len(body.get_text(" ", strip=True)))
    found = [
        (abs(share - BLOCK), number, tag)
        for number, tag in enumerate(body.find_all(("div", "section", "article", "header", "ul", "table", "p", "nav")))
        if 0.04 < (share := len(tag.get_text(" ", strip=True)) / whole) < MOST
        and (tag.find_next_sibling() or tag.find_previous_sibling())
    ]
    return min(found)[2] if found else None


def edited(source: str, version: str) -> str | None:
    """HTML of a version; None for a page without a block."""
    page = BeautifulSoup(source, "html.parser")
    block = block_of(page)
    if block is None:
        return None
    if version in FAULTS:
        FAULTS[version](block)
    style = "<style>*{font-family:'DejaVu Serif',serif!important}</style>" if version == "serif" else ""
    return f"{page}{style}"


async def _render(name: str) -> None:
    source = (real("web") / f"{name}.html").read_text()
    settings = Render(sandbox=Sandbox(wall_s=120))
    for version in VERSIONS:
        path = CACHE / name / f"{version}.png"
        html = edited(source, version)
        if path.exists() or html is None:
            continue
        wide, high = settings.viewport
        viewport = (round(wide * WIDTHS.get(version, 1.0)), high)
        renderer = WebRenderer(replace(settings, viewport=viewport))
        try:
            result = await renderer.render(html)
        finally:
            await renderer.close()
        assert result.png is not None, (name, version, result)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(result.png)


def versions(name: str) -> dict[str, bytes] | None:
    """PNG bytes of every version; None for a page without a block, or where an edit changes nothing."""
    asyncio.run(_render(name))
    if not (CACHE / name / "base.png").exists():
        return None
    found = {version: (CACHE / name / f"{version}.png").read_bytes() for version in VERSIONS}
    return found if all(found[version] != found["base"] for version in (*COSMETIC, *FAULTS)) else None
