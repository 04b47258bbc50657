"""The perceptual judge sees content: the same program in other margins, sizes and typefaces stands above single faults,
whatever grids, legends and bars up to the frame are drawn."""

import io
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from configs.domains import find
from serving.judge.perceptual import compare
from serving.judge.perceptual.features import Survey, decode, survey
from tests.serving.judge.chart_looks import COSMETIC, SIZES, Chart, draw

BARS = Chart("bar", ((7, 3, 8, 5),), ("brown",), "Harvest of the year", "Place", False)
LINES = Chart("lines", ((2, 7, 3, 8, 5), (6, 3, 5, 2, 4)), ("red", "teal"), "Two harvests", "Year", True)
SMALL = {"size": SIZES["168x140"], "margins": (0.16, 0.24, 0.95, 0.82)}


def seen(png: bytes) -> Survey:
    return survey(decode(png), find("chart").look)


@pytest.mark.parametrize("across", [False, True])
def test_bars_up_to_the_frame_do_not_hide_the_plotting_area(across: bool) -> None:
    figure = Figure((4, 3), dpi=100)
    axes = figure.subplots()
    (axes.barh if across else axes.bar)(range(6), [1, 1, 1, 0.4, 1, 0.7], 0.9, color="tab:blue")
    (axes.set_xlim if across else axes.set_ylim)(0, 1)
    axes.spines["top" if across else "right"].set_visible(False)
    panels = seen(_png(figure)).panels
    assert len(panels) == 1
    assert panels[0] == pytest.approx([50, 36, 360, 267], abs=3)


@pytest.mark.parametrize("look", ["seaborn-v0_8-whitegrid", "grid", "default"])
def test_a_bar_too_short_costs_more_than_other_margins_on_any_grid(look: str) -> None:
    """A pale gray grid once joined the colour of the bars, which then ended where it does."""
    base = replace(BARS, look=look)
    target = draw(base)
    short = compare(target, draw(replace(base, values=((7, 3, 4, 5),)))).score
    slight = compare(target, draw(replace(base, values=((7, 3, 7, 5),)))).score
    for name in ("margins", "tight layout", "dpi 150", "scale 1.5"):
        cosmetic = compare(target, draw(COSMETIC[name](base))).score
        assert cosmetic > max(0.95, slight) > short, name
    assert short < 0.9


def test_marks_of_other_widths_are_the_same_marks() -> None:
    base = replace(LINES, kind="scatter", values=((2, 7, 3, 8, 5),), legend=False, **SMALL)  # type: ignore[arg-type]
    verdict = compare(draw(base), draw(COSMETIC["scale 1.5"](base)))
    off = compare(draw(base), draw(replace(base, values=((2, 7, 4, 8, 5),))))
    assert verdict.sub_scores["values"] > 0.95 > off.sub_scores["values"]
    assert verdict.score > off.score


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
