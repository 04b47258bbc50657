"""The perceptual judge sees content: the same program in other margins, sizes and typefaces stands above single faults,
whatever grids, legends and bars up to the frame are drawn."""

import io

import pytest
from matplotlib.figure import Figure

from configs.domains import find
from serving.judge.perceptual.features import Survey, decode, survey
from tests.serving.judge.chart_looks import SIZES, Chart

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


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
