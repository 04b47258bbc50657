"""Design2Code's scores: pages painted and cleaned, blocks found in real renders, and the matching by hand."""

import asyncio
import random

import numpy as np
import pytest
from PIL import Image

from configs.schema import Render
from serving.render.web import WebRenderer
from tests.data import real
from training.metrics.design2code import Block, Scores, blocks, compare, pixels, score, without_text
from training.metrics.design2code.blocks import merged
from training.metrics.design2code.matching import bonuses, improvement, joined, match
from training.metrics.design2code.pages import PALETTE, cleaned, painted, texts, without_noscript, without_repetition

PAGE = """<!DOCTYPE html><html><head><title>t</title><style>body{margin:0;background:#eee;font-size:30px}
h1{color:#c00000}p{color:#0000cc;background:#ffff00}</style></head>
<body>bare<h1>Hello &amp; welcome</h1><p class="a">One
<b>bold</b> word <i>leaning</i> <i style="color:red">red</i></p>
<div><span>left</span><br><img src="x.png" alt=""></div><noscript><p>no scripts</p></noscript></body></html>"""


def rendered(*jobs: tuple[str, str]) -> tuple[list[Scores], list[Block], np.ndarray]:
    """Scores of pairs of pages; the blocks and the picture of the first reference."""

    async def run() -> tuple[list[Scores], list[Block], np.ndarray]:
        renderer = WebRenderer(Render(full_width=True))

        async def shoot(source: str) -> bytes | None:
            return (await renderer.render(source)).png

        try:
            scores = [await score(golden, generated, shoot) for golden, generated in jobs]
            page = without_noscript(jobs[0][0])
            png = await shoot(page)
            assert png is not None and all(scores)
            return [s for s in scores if s], await blocks(page, pixels(png), shoot), pixels(png)
        finally:
            await renderer.close()

    return asyncio.run(run())


def block(text: str, left: float = 0.0, top: float = 0.0, colour: tuple[float, float, float] = (0, 0, 0)) -> Block:
    return Block(text, (left, top, 0.1, 0.1), colour)


def test_the_tags_that_bear_text_are_painted_and_the_rest_takes_their_colour() -> None:
    page = painted(PAGE, 0)
    assert page.count("background-color: rgba(255, 255, 255, 0.0) !important") == PAGE.count("<") - PAGE.count("</") - 1
    found = texts(page)
    heading, paragraph, bold, div, span, _ = PALETTE[:6]
    assert found[:6] == [
        ("bare", (0, 0, 0)), ("Hello & welcome", heading), ("One", paragraph), ("bold", bold), ("word", paragraph),
        ("leaning", paragraph),
    ]  # fmt: skip
    assert found[6] == ("red", (255, 0, 0)) and ("left", span) in found and div != span
    assert "#{:02X}{:02X}{:02X}".format(*(c + 50 - 256 * (c + 50 > 255) for c in heading)) in painted(PAGE, 50)


def test_predictions_that_repeat_themselves_are_cut() -> None:
    again = "".join(f"<p>{'the same words, over and over again ' * 3}{n}</p>" for n in range(12))
    start = "<html><body><h1>Something else entirely stands here, once, and long enough to be a chunk.</h1>"
    assert without_repetition(PAGE) == PAGE
    assert len(without_repetition(start + again)) < len(start + again) / 2
    assert cleaned("<br>x") == "<html><body><p><br/>x</p></body></html>"
    assert cleaned("<html>" + "<hr>" * 80).count("<hr/>") == 50


def test_what_an_edit_of_a_page_costs() -> None:
    edited = PAGE.replace("#c00000", "#00c000").replace("left", "right side").replace("h1{", "h1{padding-left:300px;")
    real_page = (real("web") / "1199.html").read_text(errors="replace")
    wide = PAGE.replace("<div>", '<div style="width:1900px">')
    (same, other, itself, broad), golden, shot = rendered(
        (PAGE, PAGE), (PAGE, edited), (real_page, real_page), (wide, wide)
    )
    for one in (same, itself, broad):
        assert (one.block, one.text, one.position, one.color) == pytest.approx((1, 1, 1, 1))
    assert other.block < 1 and 0.8 < other.position < 1 and other.color < 1 and other.final is None
    assert {b.text for b in golden} == {"hello & welcome", "one word leaning", "bold", "left"}  # not what has no colour
    red = next(b for b in golden if b.text.startswith("hello"))
    assert red.box[0] < 0.02 and 0.1 < red.box[2] < 0.5, red
    assert red.colour == pytest.approx((192, 0, 0), abs=6)
    without = np.asarray(without_text(shot, golden))
    assert without.shape[0] == without.shape[1] == min(shot.shape[:2])
    reds = (without[:, :, 0].astype(int) - without[:, :, 1]) > 60
    assert reds[: int(0.1 * len(reds))].sum() < 20  # the heading is gone


def test_neighbours_are_joined_where_that_helps() -> None:
    golden = [block("hello world"), block("foot", top=0.5)]
    generated = [block("hello", colour=(3, 0, 1)), block("world", left=0.2), block("foot", top=0.5)]
    a, _, pairs = match(generated, golden)
    assert [x.text for x in a] == ["hello world", "foot"] and [p[:2] for p in pairs] == [(0, 0), (1, 1)]
    assert a[0].box == pytest.approx((0.0, 0.0, 0.3, 0.1)) and a[0].colour == (1.0, 0.0, 0.0)  # whole numbers
    assert merged([block("a", colour=(1, 2, 4)), block("b", colour=(2, 2, 2))])[0].colour == (1.5, 2, 3)


def test_a_merge_counts_by_the_mean_of_the_costs_that_it_changes() -> None:
    assert improvement([-0.5, -0.9], [-0.8, -0.9]) == pytest.approx(0.3)
    assert improvement([-0.5, -0.5, -0.9], [-1.0, -0.9]) == pytest.approx(0.5)
    assert improvement([-0.1, -0.9], [-0.6]) == 0.0  # better in the mean, but the best of them is lost
    assert improvement([-1.0], [-1.0]) == 0.0


def by_hand(a: list[Block], b: list[Block]) -> tuple[list[Block], list[Block]]:
    """Merging as the original's description has it: everything anew at every step."""
    from difflib import SequenceMatcher

    from scipy.optimize import linear_sum_assignment

    def best(x: list[Block], y: list[Block]) -> list[float]:
        cost = np.array([[-SequenceMatcher(None, p.text, q.text).ratio() for q in y] for p in x])
        return list(cost[linear_sum_assignment(cost)])

    changed = True
    while changed:
        changed = False
        for first in (True, False):
            side = a if first else b
            before, better = best(a, b), []
            for i in range(len(side) - 1):
                tried = [*side[:i], joined(side[i], side[i + 1]), *side[i + 2 :]]
                gain = improvement(before, best(tried, b) if first else best(a, tried))
                if gain > 0.05:
                    better.append((gain, i))
            taken: set[int] = set()
            for _, i in sorted(better, key=lambda one: -one[0]):
                if not {i, i + 1} & {k for t in taken for k in (t, t + 1)}:
                    taken.add(i)
            for i in sorted(taken, reverse=True):
                side = [*side[:i], joined(side[i], side[i + 1]), *side[i + 2 :]]
            changed |= bool(taken)
            a, b = (side, b) if first else (a, side)
    return a, b


def test_blocks_split_and_joined_at_random_merge_as_by_hand() -> None:
    words = "one two three four five six seven eight nine ten red green blue grey".split()  # noqa: SIM905
    rng, touched = random.Random(1), 0
    for _ in range(150):
        golden = [
            block(" ".join(rng.choices(words, k=rng.randint(1, 5))), top=n / 10) for n in range(rng.randint(2, 6))
        ]
        split = []
        for one in golden:
            parts = one.text.split()
            cut = rng.randrange(len(parts))
            split += [block(" ".join(p), top=one.box[1]) for p in (parts[:cut], parts[cut:]) if p]
        if rng.random() < 0.5 and len(golden) > 2:
            golden = [joined(golden[0], golden[1]), *golden[2:]]
        expected = by_hand(split, golden)
        found = match(split, golden)
        assert (found[0], found[1]) == expected
        touched += len(found[0]) != len(split) or len(found[1]) != len(golden)
    assert touched > 75


def test_a_pair_gains_from_the_two_best_pairs_beside_it() -> None:
    """Also where more than two beside it are more alike than it is itself."""
    ratios = np.array([[1.0, 0.2, 0.9], [0.2, 0.6, 0.3], [0.8, 0.1, 0.4]])
    expected = [[0.6 + 0.2, 0.0, 0.6 + 0.3], [0.0, 1.0 + 0.9, 0.0], [0.6 + 0.2, 0.0, 0.0]]
    assert bonuses(-ratios) == pytest.approx(-0.1 * np.array(expected))


def test_scores_by_hand() -> None:
    golden = [block("alpha"), block("beta", top=0.5), block("gamma gamma", left=0.9)]
    generated = [block("alpha", left=0.2), block("beta", top=0.5, colour=(255, 255, 255))]
    scores, _ = compare(golden, generated)
    assert scores.block == pytest.approx(4 / 5)  # five equal areas, one of them unmatched
    assert scores.text == 1.0 and scores.position == pytest.approx((0.8 + 1.0) / 2)
    assert scores.color == pytest.approx(0.5, abs=1e-6)  # black for white is all of the scale
    assert Scores(0.0, 0.0, 0.0, 0.0, 0.5).final == pytest.approx(0.1)
    assert compare(golden, [block("zzz")])[0].block == 0.0


def test_clip_sees_the_text_painted_over_and_nothing_beside_it() -> None:
    page = np.full((40, 60, 3), 200, np.uint8)
    page[10:20, 6:30] = 0
    seen = without_text(page, [Block("x", (0.1, 0.25, 0.4, 0.25), (0, 0, 0))])
    assert seen.size == (40, 40) and np.asarray(seen).min() > 190
    assert (
        without_text(page, []).tobytes() == Image.fromarray(page).resize((40, 40), Image.Resampling.LANCZOS).tobytes()
    )
