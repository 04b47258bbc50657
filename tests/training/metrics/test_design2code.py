"""Design2Code's scores: blocks found by paint in real pages, and the matching by hand."""

import asyncio

import numpy as np
import pytest

from configs.schema import Render
from serving.render.web import WebRenderer
from tests.data import real
from training.metrics.design2code import Block, Painter, blocks, bonuses, compare, match, pixels, without_text

PAGE = """<!DOCTYPE html><html><head><title>t</title><style>body{margin:0;background:#eee;font-size:30px}
h1{color:#c00000}p{color:#0000cc;background:#ffff00}</style></head><body><h1>Hello &amp; welcome</h1><p class="a">One
<b>bold</b> word</p>
<div><span>left</span><br><img src="x.png" alt=""></div></body></html>"""


def found(page: str, edited: str) -> tuple[list[Block], list[Block], np.ndarray]:
    async def run() -> tuple[list[Block], list[Block], np.ndarray]:
        renderer = WebRenderer(Render())

        async def shoot(source: str) -> bytes | None:
            return (await renderer.render(source)).png

        try:
            shots = [await shoot(source) for source in (page, edited)]
            assert shots[0] is not None and shots[1] is not None
            first = await blocks(page, pixels(shots[0]), shoot)
            return first, await blocks(edited, pixels(shots[1]), shoot), pixels(shots[0])
        finally:
            await renderer.close()

    return asyncio.run(run())


def block(text: str, left: float = 0.0, top: float = 0.0, colour: tuple[float, float, float] = (0, 0, 0)) -> Block:
    return Block(text, (left, top, 0.1, 0.1), colour)


def test_a_page_is_painted_without_losing_a_tag_or_a_word() -> None:
    painter = Painter(PAGE)
    assert painter.texts() == ["Hello & welcome", "One word", "bold", "left"]
    painted = painter.painted(50)
    assert painted.count("<") == PAGE.count("<") and 'class="a"' in painted and "Hello &amp; welcome" in painted
    assert "color:rgb(50,50,50)!important" in painted and "color:rgb(50,50,66)!important" in painted


def test_blocks_of_a_page_and_what_an_edit_costs() -> None:
    edited = PAGE.replace("#c00000", "#00c000").replace("left", "right side").replace("h1{", "h1{padding-left:300px;")
    golden, generated, shot = found(PAGE, edited)
    texts = {b.text: b for b in golden}
    assert set(texts) == {"hello & welcome", "one word", "bold", "left"}
    red = texts["hello & welcome"]
    assert red.box[0] < 0.02 and 0.1 < red.box[2] < 0.4
    assert red.colour == pytest.approx((192, 0, 0), abs=2)
    same = compare(golden, golden, 1.0)
    assert (same.block, same.text, same.position, same.color, same.final) == pytest.approx((1, 1, 1, 1, 1))
    other = compare(golden, generated, None)
    assert other.block < 1 and 0.8 < other.position < 1 and other.color < 1 and other.final is None
    cleaned = np.asarray(without_text(shot, golden).convert("RGB"))
    assert cleaned.shape[0] == cleaned.shape[1] == min(shot.shape[:2])
    reds = (cleaned[:, :, 0].astype(int) - cleaned[:, :, 1]) > 60
    assert reds.sum() < 20  # the heading is gone


def test_a_real_page_is_itself() -> None:
    page = (real("web") / "1199.html").read_text(errors="replace")
    golden, again, _ = found(page, page)
    assert len(golden) > 5 and golden == again
    same = compare(golden, again, None)
    assert (same.block, same.text, same.position, same.color) == pytest.approx((1, 1, 1, 1))


def test_neighbours_are_joined_where_that_helps() -> None:
    golden = [block("hello world"), block("foot", top=0.5)]
    generated = [block("hello"), block("world", left=0.2), block("foot", top=0.5)]
    _, b, pairs = match(golden, generated)
    assert [x.text for x in b] == ["hello world", "foot"] and pairs == [(0, 0), (1, 1)]
    assert b[0].box == pytest.approx((0.0, 0.0, 0.3, 0.1))


def test_a_pair_gains_from_the_two_best_pairs_beside_it() -> None:
    """Also where more than two beside it are more alike than it is itself."""
    likeness = np.array([[1.0, 0.2, 0.9], [0.2, 0.6, 0.3], [0.8, 0.1, 0.4]])
    expected = [[0.6 + 0.2, 0.0, 0.6 + 0.3], [0.0, 1.0 + 0.9, 0.0], [0.6 + 0.2, 0.0, 0.0]]
    assert bonuses(likeness) == pytest.approx(0.1 * np.array(expected))


def test_scores_by_hand() -> None:
    golden = [block("alpha"), block("beta", top=0.5), block("gamma gamma", left=0.9)]
    generated = [block("alpha", left=0.2), block("beta", top=0.5, colour=(255, 255, 255))]
    scores = compare(golden, generated, 0.5)
    assert scores.block == pytest.approx(4 / 5)  # five equal areas, one of them unmatched
    assert scores.text == 1.0 and scores.position == pytest.approx((0.8 + 1.0) / 2)
    assert scores.color == pytest.approx(0.5, abs=1e-6)  # black for white is all of the scale
    nothing = compare(golden, [block("zzz")], 0.5)
    assert nothing.final == pytest.approx(0.1)
