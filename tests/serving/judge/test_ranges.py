"""Axes are read: wrong values are wrong on whatever range they are drawn, and other ticks on the same range are not."""

import functools
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib import rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from configs.domains import find
from serving.judge.perceptual import compare
from serving.judge.perceptual.charts.digits import read
from serving.judge.perceptual.features import decode, survey
from training.data.foreign_charts import SHIPPED
from training.data.shipped import unpack

KINDS = ("bar", "barh", "plot", "scatter")
VALUES = (3, 7, 1, 6, 4)
ONE_OFF = (3, 7, 2, 6, 4)
FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral", "cmr10")


def drawn(
    kind: str, values: Any = VALUES, places: Any = (1, 2, 3, 4, 5), also: Callable[[Axes], object] | None = None,
    dpi: int = 100, font: str = "DejaVu Sans",
) -> bytes:  # fmt: skip
    """PNG bytes of a chart of 3 x 2 inches."""
    return _drawn(kind, tuple(values), tuple(places), also, dpi, font)


@functools.cache
def _drawn(
    kind: str, values: tuple, places: tuple, also: Callable[[Axes], object] | None, dpi: int, font: str
) -> bytes:
    with rc_context({"font.family": font, "axes.formatter.use_mathtext": True, "axes.unicode_minus": False}):
        figure = Figure(figsize=(3, 2), dpi=dpi)
        axes = figure.subplots()
        getattr(axes, kind)(places, values, color="tab:blue")
        axes.set_title("Sales")
        if also is not None:
            also(axes)
        out = io.BytesIO()
        figure.savefig(out)
        return out.getvalue()


def along(kind: str, axes: Axes) -> Any:
    return axes.xaxis if kind == "barh" else axes.yaxis


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [lambda v: v / 2, lambda v: v * 2, lambda v: v * 10, lambda v: v + 3],
    ids=["half", "twice", "tenfold", "up"],
)
def test_all_values_wrong_cost_more_than_one(kind: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Drawn by Matplotlib's own ranges they look the same but for the numbers at the axis."""
    target = drawn(kind)
    one = compare(target, drawn(kind, ONE_OFF)).score
    verdict = compare(target, drawn(kind, change(np.array(VALUES, float))))
    assert verdict.score < min(0.8, one - 0.1)
    assert verdict.sub_scores["values"] < 0.75


def test_the_words_say_by_how_much_all_values_are_off() -> None:
    tenfold = compare(drawn("plot"), drawn("plot", [10 * v for v in VALUES])).feedback
    assert "All values should be multiplied by about 0.1: the y axis should run from about 1" in tenfold
    higher = compare(drawn("plot"), drawn("plot", [v + 30 for v in VALUES])).feedback
    assert "All values should be about 30 lower" in higher


def test_lines_at_other_places_are_other_data_and_bars_an_axis_of_another_range() -> None:
    moved = {k: compare(drawn(k), drawn(k, places=(6, 7, 8, 9, 10))) for k in ("plot", "bar")}
    assert moved["plot"].score < 0.5 < moved["bar"].score < 0.9
    assert "All x values should be about 5.0 lower" in moved["plot"].feedback
    assert "The x axis should run from about 0" in moved["bar"].feedback


@pytest.mark.parametrize("kind", KINDS)
def test_other_ticks_on_the_same_range_cost_next_to_nothing(kind: str) -> None:
    target = drawn(kind)
    for also in (
        lambda axes: along(kind, axes).set_major_locator(ticker.MultipleLocator(1)),
        lambda axes: along(kind, axes).set_major_locator(ticker.MultipleLocator(3)),
        lambda axes: along(kind, axes).set_major_formatter("{x:.1f}"),
        lambda axes: along(kind, axes).set_ticks([]),
        lambda axes: along(kind, axes).set_ticklabels([]),
        lambda axes: axes.tick_params(labelsize=7),
    ):
        assert compare(target, drawn(kind, also=also)).score > 0.85


@pytest.mark.parametrize("kind", ["bar", "plot"])
def test_the_same_data_on_a_longer_axis_are_worth_more_than_one_wrong_value(kind: str) -> None:
    longer = drawn(kind, also=lambda axes: axes.set_ylim(0, 12))
    wrong = drawn(kind, (3, 7, 5, 6, 4), also=lambda axes: axes.set_ylim(0, 12))
    verdict = compare(drawn(kind), longer)
    assert verdict.score > compare(drawn(kind), wrong).score
    assert "the y axis" not in compare(drawn(kind), drawn(kind)).feedback
    assert "The y axis should run from about" in verdict.feedback and "All values" not in verdict.feedback


@pytest.mark.parametrize("font", FONTS)
@pytest.mark.parametrize("dpi", [80, 100, 200])
def test_scales_are_read_in_any_typeface(font: str, dpi: int) -> None:
    png = drawn("plot", [v * 12.5 - 20 for v in VALUES], dpi=dpi, font=font)
    side = survey(decode(png), find("chart").look).side
    scale = side.scales[1]
    assert scale is not None
    height = side.canvas[1]
    top, bottom = (scale.slope * height * share + scale.origin for share in (0.12, 0.89))
    assert top == pytest.approx(7 * 12.5 - 20 + 3.75, abs=1.5)
    assert bottom == pytest.approx(12.5 - 20 - 3.75, abs=1.5)


def test_words_and_powers_are_no_numbers() -> None:
    for labels in (["Mon", "Tue", "Wed", "Thu", "Fri"], ["A", "C", "E", "F", "H"], ["a1", "b2", "c3", "d4", "e5"]):
        png = drawn("bar", also=lambda axes, labels=labels: axes.set_xticks([1, 2, 3, 4, 5], labels))
        assert survey(decode(png), find("chart").look).side.scales[0] is None
    log = drawn("plot", [10.0**v for v in VALUES], also=lambda axes: axes.set_yscale("log"))
    assert survey(decode(log), find("chart").look).side.scales[1] is None


def test_an_empty_patch_says_nothing() -> None:
    assert read(np.zeros((9, 9), np.float32), 0, 0) == []


def test_axes_of_the_other_renderers_are_read(tmp_path: Any) -> None:
    folder = unpack(SHIPPED, tmp_path)
    found = [
        survey(decode((folder / name / f"{index:04d}.png").read_bytes()), find("chart").look).side.scales
        for name in ("validation", "third")
        for index in range(12)
    ]
    assert np.mean([scale is not None for pair in found for scale in pair]) > 0.85
