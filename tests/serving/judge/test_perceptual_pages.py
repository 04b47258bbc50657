"""What the perceptual judge sees of pages: text on panels, seams, palettes that a detail cannot turn, extents."""

import io
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from configs.domains import find
from serving.judge.perceptual import compare
from serving.judge.perceptual.backdrop import stand_out
from serving.judge.perceptual.colour import to_lab
from serving.judge.perceptual.features import decode, extract
from serving.judge.perceptual.palette import pair

LINES = ("We offer many and varied services", "Click here to find out more", "or ring us on any day of the week")
SIZE = (700, 520)
LOOK = find("web").look


def page(panel: str = "white", ink: str = "black", paper: str = "white", move: int = 0) -> Image.Image:
    """Three lines of text on a panel and one on the page, `move` pixels right and down."""
    image = Image.new("RGB", SIZE, paper)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=18)
    draw.rectangle((60 + move, 60 + move, 480 + move, 300 + move), fill=panel)
    for row, words in enumerate(LINES):
        draw.text((80 + move, 80 + 60 * row + move), words, fill=ink, font=font)
    draw.text((80 + move, 400 + move), "A last word below the panel", fill="gray", font=font)
    return image


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("panel", "ink", "paper"),
    [
        ("#333333", "white", "white"),
        ("navy", "#bbbbbb", "white"),
        ("#dddddd", "#666666", "black"),
        ("red", "black", "#dddddd"),
    ],
)
def test_text_on_a_panel_is_found_as_on_the_page(panel: str, ink: str, paper: str) -> None:
    plain = extract(png(page()), LOOK).text
    found = extract(png(page(panel, ink, paper)), LOOK).text
    assert len(found.boxes) == len(plain.boxes) >= len(LINES) + 1
    assert np.abs(found.boxes - plain.boxes).max() <= 2


@pytest.mark.parametrize("panel", ["#333333", "navy", "#eeeeee"])
def test_a_page_of_panels_three_pixels_off_loses_little(panel: str) -> None:
    ink = "black" if panel == "#eeeeee" else "white"
    verdict = compare(png(page(panel, ink)), png(page(panel, ink, move=3)), "web")
    assert verdict.score > 0.95 and verdict.sub_scores["text"] > 0.95


def test_panels_and_their_seams_do_not_stand_out() -> None:
    picture = np.full((60, 80, 3), 255, np.uint8)
    picture[:, 40:] = (20, 60, 120)
    picture[:, 40] = (130, 150, 190)  # a blend of both, as scaling down leaves it
    assert stand_out(picture, to_lab(picture)).max() == 0
    picture[20:30, 10:12] = (200, 0, 0)
    found = stand_out(picture, to_lab(picture)) > 20
    assert np.array_equal(np.argwhere(found).min(axis=0), (20, 10))
    assert np.array_equal(np.argwhere(found).max(axis=0), (29, 11))


def test_without_any_panel_nothing_stands_out() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    assert stand_out(noise, to_lab(noise)).max() == 0


def test_a_small_icon_does_not_turn_the_palette() -> None:
    wanted = extract(png(page(ink="#383858")), LOOK).palette
    alone, iconed = page(ink="#404040"), page(ink="#404040")
    ImageDraw.Draw(iconed).rectangle((600, 20, 612, 32), fill="green")
    with_icon, without = (pair(wanted, extract(png(p), LOOK).palette, "page").agreement for p in (iconed, alone))
    assert without > 0.6 and without - 0.15 < with_icon < without


def test_a_page_a_little_longer_is_worth_nearly_all() -> None:
    ends = [page() for _ in range(2)]
    for image in ends:
        ImageDraw.Draw(image).rectangle((0, SIZE[1] - 40, *SIZE), fill="navy")
    longer = Image.new("RGB", (SIZE[0], SIZE[1] + 3), "white")
    longer.paste(ends[1], (0, 3))
    assert compare(png(ends[0]), png(longer), "web").score > 0.95
    twice = Image.new("RGB", (SIZE[0], SIZE[1] * 2), "white")
    for top in (0, SIZE[1]):
        twice.paste(ends[1], (0, top))
    assert compare(png(ends[0]), png(twice), "web").score < 0.4


def test_panels_do_not_make_up_for_words() -> None:
    """The panels alone, in the right colours on the right spots, are worth less than half."""
    target = page("#333333", "white")
    empty = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(empty).rectangle((60, 60, 480, 300), fill="#333333")
    assert compare(decode(png(target)), decode(png(empty)), "web").score < 0.5


def _column(words: tuple[str, ...], font: str) -> np.ndarray:
    """A page of buttons 294 x 252, one word on each, in a typeface that Matplotlib ships."""
    letters = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf", 15)
    page = Image.new("RGB", (294, 252), "white")
    pen = ImageDraw.Draw(page)
    for n, word in enumerate(words):
        pen.rectangle((12, 12 + 46 * n, 280, 46 + 46 * n), fill="teal")
        pen.text((24, 20 + 46 * n), word, fill="white", font=letters)
    return np.asarray(page)


@pytest.mark.parametrize(
    ("other", "font"), [("Garden", "DejaVuSans"), ("Garden", "DejaVuSerif"), ("Wintor", "DejaVuSans")]
)
def test_a_wrong_word_costs_something_in_any_typeface(other: str, font: str) -> None:
    """One of five words is another one; or has another letter, which another typeface hides."""
    words = ("Photos", "Email", "Winter", "Orders", "Sugar")
    target = _column(words, "DejaVuSans")
    right, wrong = (
        compare(target, _column(shown, font), "web").score for shown in (words, (*words[:2], other, *words[3:]))
    )
    assert right > 0.6 and right - wrong > 0.03
