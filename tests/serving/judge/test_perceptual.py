"""The perceptual judge's parts: colour differences, its fixed points, its words, unreadable input."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from serving.judge.perceptual import compare
from serving.judge.perceptual.colour import NAMES, difference, names, to_lab
from serving.judge.perceptual.spread import overlap, spreads

# Pairs and values published with the formula (Sharma, Wu, Dalal 2005, table 1)
SHARMA = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("first", "second", "expected"), SHARMA)
def test_ciede2000_is_the_published_one(first, second, expected) -> None:
    found = difference(np.array([first], np.float32), np.array([second], np.float32))
    assert found[0, 0] == pytest.approx(expected, abs=2e-3)


def test_common_colours_have_their_names() -> None:
    colours = {"red": "d62728", "blue": "1f77b4", "green": "2ca02c", "orange": "ff7f0e", "black": "000000",
               "white": "ffffff", "yellow": "ffff00", "gray": "808080", "pink": "ff69b4"}  # fmt: skip
    rgb = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in colours.values()], np.uint8)
    assert list(names(to_lab(rgb[None])[0])) == list(colours)
    assert set(colours) <= set(NAMES)


def page(width: int = 640, height: int = 480) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (width, height), "white")
    return image, ImageDraw.Draw(image)


def bars(colour: str = "red", lift: int = 0, size: tuple[int, int] = (640, 480), paper: str = "white") -> bytes:
    """Axes and four bars; `lift` pixels higher ones."""
    image = Image.new("RGB", (640, 480), paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 40, 600, 430), outline="black")
    for n, height in enumerate((120, 250, 180, 300)):
        draw.rectangle((110 + 120 * n, 429 - height - lift, 180 + 120 * n, 429), fill=colour)
    return png(image.resize(size))


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_fixed_points() -> None:
    blank = png(page()[0])
    assert compare(bars(), bars()).score == 1
    assert compare(bars(), blank).score == 0
    assert compare(blank, blank).score == 1
    assert compare(blank, bars()).score < 0.02


def test_a_verdict_is_a_function_of_the_pixels_alone() -> None:
    first = compare(bars(), bars("blue", 40))
    compare(bars("green"), bars("red"))
    again = compare(bars(), bars("blue", 40))
    array = np.asarray(Image.open(io.BytesIO(bars("blue", 40))))
    assert first == again == compare(bars(), array)


def test_milder_differences_score_higher() -> None:
    target = bars()
    scores = [compare(target, bars(lift=lift)).score for lift in (2, 20, 60, 110)]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4


@pytest.mark.parametrize(
    ("render", "words"),
    [
        (bars("blue"), "The bars should be red (#ff0000), not blue (#0000ff)."),
        (bars(lift=50), "Bar 1 of 4 should be about 30% shorter."),
        (bars(size=(900, 480)), "Make the picture narrower."),
        (bars(size=(640, 300)), "Make the picture taller."),
        (bars(paper="khaki"), "The background should be white, not yellow."),
        (png(page()[0]), "The picture is blank."),
    ],
)
def test_the_words_lead_to_the_target(render: bytes, words: str) -> None:
    assert words in compare(bars(), render).feedback


def test_a_picture_several_times_too_large_is_worth_next_to_nothing() -> None:
    tall = Image.new("RGB", (640, 480 * 6), "white")
    tall.paste(Image.open(io.BytesIO(bars())), (0, 0))
    for domain in ("chart", "web"):
        assert compare(bars(), png(tall), domain).score < 0.1  # type: ignore[arg-type]


def test_a_frame_along_the_border_is_no_content() -> None:
    image, draw = page()
    draw.rectangle((0, 0, 639, 479), outline="gray", width=3)
    assert compare(bars(), png(image)).score == 0
    draw.rectangle((0, 0, 639, 479), outline="gray", width=30)
    assert compare(bars(), png(image)).differences[0].category != "blank"


@pytest.mark.parametrize("shift", [(3, 3), (-4, 2), (1, -5), (0, 6)])
def test_a_shift_of_everything_costs_next_to_nothing(shift: tuple[int, int]) -> None:
    """It is other margins; the plotting areas are laid on each other."""
    wanted = np.asarray(Image.open(io.BytesIO(bars())))
    verdict = compare(bars(), np.roll(wanted, shift, axis=(1, 0)))
    assert 0.99 < verdict.score < 1
    assert min(verdict.sub_scores.values()) > 0.99


def test_overlap_is_graded_by_distance() -> None:
    mask = np.zeros((100, 100), bool)
    mask[40:50, 20:30] = True
    moved = [overlap(spreads(mask), spreads(np.roll(mask, step, axis=1))) for step in (0, 2, 8, 30, 60)]
    assert moved[0] == 1 and moved == sorted(moved, reverse=True) and moved[-1] < 0.1


@pytest.mark.parametrize(
    "bad",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_arrays_that_are_no_picture_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="RGB array"):
        compare(bars(), bad)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (3, 2), (5000, 3)])
def test_odd_sizes_are_compared(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "white")
    image.putpixel((0, 0), (255, 0, 0))
    for domain in ("chart", "web"):
        for pair in ((bars(), png(image)), (png(image), bars())):
            assert 0 <= compare(*pair, domain).score < 0.2  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1", "CMYK"])
def test_every_mode_of_png_and_jpeg_is_read(mode: str) -> None:
    image = Image.open(io.BytesIO(bars("black")))
    out = io.BytesIO()
    if mode == "I;16":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(out, "PNG")
    else:
        image.convert(mode).save(out, "JPEG" if mode == "CMYK" else "PNG")
    assert compare(bars("black"), out.getvalue()).score > 0.85
