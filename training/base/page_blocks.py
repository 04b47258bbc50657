"""Blocks of pages, drawn by the browser and cut apart, and pages stacked of them: to train on without a browser.

Guarantees: a block's picture is what the production renderer draws and the image processor resizes; a page is stacked
of blocks of one look, and is no page of the held-out split; the held-out pages are drawn whole. The file depends on its
seed alone and appears whole or not at all.
"""

import asyncio
import io
import json
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from actors.files import write_whole
from training.base.pictures import resized
from training.data.page_looks import drawing
from training.data.synthetic_pages import (
    KINDS,
    ROWS,
    WINDOW,
    WORDS,
    Block,
    Page,
    block,
    is_held_out,
    page,
    plan,
    shown_by,
)

HEIGHT, WIDTH = 28, 196  # of a row in the resized picture
ROW = WINDOW[1] // ROWS  # of a row as drawn, pixels
SHEET = 60  # blocks drawn at once
PLAIN, LOOKS = range(100), range(240, 640)  # numbers of sheets, which name the looks
HELD_OUT = 96  # pages of each level and look
LEVELS = (1, 2, 3, 4, 5)


def sheet(number: int, seed: int) -> list[Block]:
    """Blocks of a sheet, in the order of KINDS."""
    rng = random.Random(f"{seed}/sheet/{number}")
    return [block(KINDS[i % len(KINDS)], iter(rng.sample(WORDS, len(WORDS))), rng) for i in range(SHEET)]


def write(path: Path, seed: int) -> None:
    """Draw everything into one compressed file. Raises Outage."""
    rows, blocks, held, facts = asyncio.run(_drawn(seed))
    out = io.BytesIO()
    words = json.dumps({"seed": seed, "blocks": blocks, "heldout": facts})
    np.savez_compressed(out, rows=np.stack(rows), heldout=np.stack(held), facts=np.frombuffer(words.encode(), np.uint8))
    write_whole(path, out.getvalue())


async def _drawn(
    seed: int,
) -> tuple[list[np.ndarray], list[dict[str, object]], list[np.ndarray], list[dict[str, object]]]:
    from configs.schema import Render, Sandbox
    from serving.render.sandbox import LAYERS
    from serving.render.web import WebRenderer

    ours = Render(viewport=WINDOW, browser_pages=10_000, sandbox=Sandbox(allow_missing=list(LAYERS)))
    browser, whole = WebRenderer(ours), WebRenderer(replace(ours, max_height=WINDOW[1]))

    async def picture(renderer: WebRenderer, html: str) -> np.ndarray:
        found = await renderer.render(html)
        if found.png is None:
            raise RuntimeError(f"a page of the generator is not drawn: {found.kind}: {found.message}")
        return np.asarray(Image.open(io.BytesIO(found.png)).convert("RGB"))

    rows: list[np.ndarray] = []
    blocks: list[dict[str, object]] = []
    held: list[np.ndarray] = []
    facts: list[dict[str, object]] = []
    try:
        for number in (*PLAIN, *LOOKS):
            look = str(number) if number in LOOKS else None
            members = sheet(number, seed)
            drawn = await picture(browser, drawing(Page(tuple(members)), look))
            assert drawn.shape == (ROW * sum(b.rows for b in members), WINDOW[0], 3), drawn.shape
            start = 0
            for member in members:
                place = {"row": len(rows), "sheet": number}
                blocks.append({**vars(member), "words": list(member.words), **place})
                strips = drawn[start * ROW : (start + member.rows) * ROW].reshape(member.rows, ROW, WINDOW[0], 3)
                start += member.rows
                rows.extend(resized(list(strips), HEIGHT, WIDTH))
        for level in LEVELS:
            for look in (None, "held"):
                for i in range(HELD_OUT):
                    found = page(level, i, seed, "heldout")
                    drawn = await picture(whole, drawing(found, look and f"{look}/{level}/{i}"))
                    held.append(resized([drawn], HEIGHT * ROWS, WIDTH)[0])
                    facts.append({**found.facts, "level": level, "look": look or "plain"})
    finally:
        await browser.close()
        await whole.close()
    return rows, blocks, held, facts


class Blocks:
    """What one file holds."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.rows, self.heldout = file["rows"], file["heldout"]
            kept = json.loads(file["facts"].tobytes())
        self.pages = [(shown_by(f), f["level"], f["look"]) for f in kept["heldout"]]
        self._known: dict[int, dict[str, list[tuple[Block, int]]]] = defaultdict(lambda: defaultdict(list))
        for b in kept["blocks"]:
            found = Block(b["kind"], tuple(b["words"]), b["colour"], b["tall"])
            group = b["sheet"] if b["sheet"] in LOOKS else 0  # all plain blocks go together, a look's alone
            self._known[group][found.kind].append((found, b["row"]))
        self.looks = [g for g in self._known if g]

    def stacked(self, level: int, look: int, rng: random.Random) -> tuple[Page, np.ndarray]:
        """A page of a level and its picture, (ROWS * HEIGHT, WIDTH, 3) bytes; `look` 0 is the plain one."""
        known = self._known[look]
        while True:
            chosen = [rng.choice(known[kind]) for kind in plan(level, rng)]
            found = Page(tuple(b for b, _ in chosen))
            if found.rows <= ROWS and not is_held_out(found):
                break
        drawn = self._picture(chosen)
        # below its last block a page shows its paper, which is what columns have at their right edge
        paper = self.rows[known["columns"][0][1]][-1, -1]
        rest = np.broadcast_to(paper, (ROWS * HEIGHT - len(drawn), WIDTH, 3))
        return found, np.concatenate([drawn, rest])

    def filled(self, rows: int, look: int, rng: random.Random) -> tuple[Page, np.ndarray]:
        """Blocks of any kinds that fill so many rows, and their picture, (rows * HEIGHT, WIDTH, 3) bytes."""
        known = self._known[look]
        while True:
            chosen: list[tuple[Block, int]] = []
            while (left := rows - sum(b.rows for b, _ in chosen)) > 0:
                one = rng.choice(known[rng.choice(KINDS)])
                chosen += [one] if one[0].rows <= left else []
            found = Page(tuple(b for b, _ in chosen))
            if not is_held_out(found):
                return found, self._picture(chosen)

    def _picture(self, chosen: list[tuple[Block, int]]) -> np.ndarray:
        return self.rows[[row + i for b, row in chosen for i in range(b.rows)]].reshape(-1, WIDTH, 3)
