"""The feedback on charts: what is other in it is named, and what is but drawn in other pixels is not."""

from dataclasses import replace

import pytest

from actors.contracts import Difference
from serving.judge.perceptual import compare
from serving.judge.perceptual.feedback.sentences import sentence
from tests.serving.judge.chart_looks import COSMETIC, SIZES, Chart, chart, draw

LINES = Chart("lines", ((2, 7, 4, 6), (6, 3, 8, 2)), ("brown", "purple"), "Sales", "", False, size=SIZES["224x168"])
PIE = Chart("pie", ((4, 2, 3, 1),), ("red", "tab:blue", "green", "orange"), "Sales", "", False, size=SIZES["224x168"])


@pytest.mark.parametrize(("index", "look"), [(102, "tight layout"), (110, "tight layout"), (125, "margins")])
def test_blends_of_colours_are_no_other_colours(index: int, look: str) -> None:
    """Thin lines pale with their picture; where two areas meet, or a bar its border, there are mixes of both."""
    base = chart(index, "224x168")
    verdict = compare(draw(base), draw(COSMETIC[look](base)))
    assert not [d.what for d in verdict.differences if d.category == "colour"]


def test_thin_lines_of_another_colour_are_named() -> None:
    feedback = compare(draw(LINES), draw(replace(LINES, colours=("green", "purple")))).feedback
    assert "brown" in feedback and "green" in feedback and "purple" not in feedback


@pytest.mark.parametrize(("shown", "words"), [((4, 2, 3), "Draw 4 wedges, not 3: 1 more."), ((4, 2, 3, 1), "")])
def test_wedges_are_counted(shown: tuple[int, ...], words: str) -> None:
    verdict = compare(draw(PIE), draw(replace(PIE, values=(shown,), font="DejaVu Serif")))
    assert words in verdict.feedback and ("wedges" in verdict.feedback) == bool(words)


def test_a_line_that_ends_too_soon_is_named_by_where_it_should_run() -> None:
    target = replace(LINES, values=(LINES.values[0],), colours=("brown",))
    feedback = compare(draw(target), draw(replace(target, values=(LINES.values[0][:3],)))).feedback
    assert "The line should run from x = " in feedback


def test_one_sentence_of_each_category_comes_before_a_second_one_of_any() -> None:
    """Three bars that are off do not hide the title."""
    bars = [Difference("data", 3, "axes", f"Bar {n}.") for n in (1, 2, 3, 4)]
    rest = [Difference("colour", 2, "red", "Red."), Difference("text", 1, "title", "Title.")]
    assert sentence([*bars, *rest]) == "Bar 1. Bar 2. Red. Title."
    assert sentence(bars) == "Bar 1. Bar 2. Bar 3. Bar 4."
