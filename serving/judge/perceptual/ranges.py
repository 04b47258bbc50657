"""Axes of another range, where the tick labels of both sides tell it: which values lie where, and what it is worth.

Guarantees: marks are compared in the units of their axes, so that a chart of all values doubled is of wrong data and
one of the same data on a longer axis is nearly right; other ticks on the same range change nothing. Bars are known by
their order: where they stand is a range, no value.
"""

from dataclasses import dataclass, replace

import numpy as np

from actors.contracts import Difference
from serving.judge.perceptual import values
from serving.judge.perceptual.charts.register import Registration, measured
from serving.judge.perceptual.features import Features, Rgb, Survey, lay
from serving.judge.perceptual.palette import Pairing

READ = 0.035  # of a plotting area: as well as the places of tick labels tell an axis
LEAST_STRETCH, MOST_STRETCH = 0.02, 6.0  # of a render along an axis
GROUND = {"bars": 0, "horizontal bars": 1}  # the axis that says which bar it is
RANGE = 0.02  # what another range costs, however small
MOST_COST = 0.125  # and what more a range that is another one altogether
BORDER = 1.05  # marks reach that much beyond their values
ALIKE = 0.05  # of the span of values: what is not spoken of
ENDED = 0.12  # of the extent of marks, by which they end elsewhere
ALONG = {"lines": "line", "areas": "area", "points": "points"}  # marks whose extent along x is their values'
STATED, FAR = 0.08, 0.2  # of an axis, its ends that are off, from which it is spoken of; the same where bars stand

Ends = tuple[float, float, float, float]  # the least and the greatest of the target, and of the render


@dataclass(frozen=True)
class Ranges:
    """`stretch` and `shift` along each axis (x, y), after registration, lay equal values on each other; `cost` is what
    the ranges are worth where the data are the same. `ends` of an axis that differs (None for the other) and `marks`
    upon it are values. `are_values` says that the marks look right and are of other values."""

    stretch: tuple[float, float]
    shift: tuple[float, float]
    cost: float
    ends: tuple[Ends | None, Ends | None]
    marks: tuple[Ends | None, Ends | None]
    are_values: bool = False

    def of_other_values(self) -> "Ranges":
        return replace(self, are_values=True)


def compare_ranges(target: Features, found: Survey, registration: Registration, render: Features) -> Ranges | None:
    """None where no axis can be read on both sides, or all that can agree to READ of the plotting area. `render` is
    the render as registration lays it."""
    stretch, shift, cost = [1.0, 1.0], [0.0, 0.0], 0.0
    ends: list[Ends | None] = [None, None]
    marks: list[Ends | None] = [None, None]
    for axis, scale in enumerate(target.side.scales):
        sides = np.array([target.frame[axis], target.frame[axis + 2]])
        by, to = measured(registration, target.side, found.side, axis)
        off = np.abs(by * sides + to - sides) / max(1, sides[1] - sides[0])
        if off.max() < READ or scale is None:
            continue
        cost += RANGE + MOST_COST * min(1.0, abs(float(np.log(max(1e-3, abs(by))))) + float(off.min()))

        def valued(low: float, high: float, other_low: float, other_high: float) -> Ends:
            at = np.array([low, high, by * other_low + to, by * other_high + to]) * scale.slope + scale.origin  # noqa: B023
            return tuple(map(float, (*sorted(at[:2]), *sorted(at[2:]))))  # type: ignore[return-value]

        ends[axis] = valued(*sides, *sides)
        a, b = target.shapes.box, render.shapes.box
        marks[axis] = valued(a[axis], a[axis + 2], b[axis], b[axis + 2])
        if axis != GROUND.get(target.shapes.kind or ""):
            low = float(sides[axis])  # the lower end stays where it belongs
            stretch[axis] = float(np.clip(by, LEAST_STRETCH, MOST_STRETCH))
            shift[axis] = to + (by - stretch[axis]) * low
    if ends == [None, None]:
        return None
    return Ranges((stretch[0], stretch[1]), (shift[0], shift[1]), cost, (ends[0], ends[1]), (marks[0], marks[1]))


def in_units(
    target: Features, found: Survey, rgb: Rgb, registration: Registration, render: Features, pairing: Pairing,
    ranges: Ranges,
) -> tuple[Features, float, float]:  # fmt: skip
    """The render `rgb`, so far laid as `render`, with its values on the target's; how well they agree; and the share of
    its marks' extent that lies within the target's plotting area: what lies beyond is wrong."""
    way, inside = registration, 1.0
    for axis, (by, to) in enumerate(zip(ranges.stretch, ranges.shift, strict=True)):
        if (by, to) == (1.0, 0.0):
            continue
        way = way.ranged(axis, by, to, found.side.marks)
        low, high = by * render.shapes.box[axis] + to, by * render.shapes.box[axis + 2] + to
        within = min(target.frame[axis + 2], high) - max(target.frame[axis], low)
        inside *= float(np.clip(BORDER * within / max(1.0, high - low), 0, 1))
    seen = lay(found, rgb, target, way)[0] if way is not registration else render
    return seen, values.in_units(target, render, pairing, ranges.stretch, ranges.shift), inside


def findings(ranges: Ranges, kind: str | None) -> list[Difference]:
    """The words for axes whose ranges differ; `kind` is that of the target's marks."""
    found = []
    for axis, ends in enumerate(ranges.ends):
        if ends is None:
            continue
        name, ground = "xy"[axis], axis == GROUND.get(kind or "")
        low, high, other_low, other_high = ends
        span = max(1e-12, abs(high - low), abs(other_high - other_low))
        run = "he {} axis should run from about {} to {}, not from {} to {}.".format(
            name, *(_number(end, span) for end in ends)
        )
        marks = _extent(ranges.marks[axis]) if axis == 0 and kind in ALONG else ""
        change = _change(ranges.marks[axis]) if ranges.are_values and not ground else ""
        if change:
            what = "All x values" if axis == 0 and kind != "horizontal bars" else "All values"
            found.append(Difference("data", 3, f"{name} axis", f"{what} should be {change}: t{run}"))
        elif marks:
            found.append(Difference("data", 2, "x axis", f"The {ALONG[kind or '']} should run {marks}."))
        elif max(abs(low - other_low), abs(high - other_high)) > (FAR if ground else STATED) * abs(high - low):
            found.append(Difference("data", 1, f"{name} axis", f"T{run}"))
    return found


def _extent(marks: Ends | None) -> str:
    """From where to where marks run along an axis, where a render's end or begin elsewhere."""
    assert marks is not None
    low, high, other_low, other_high = marks
    span = max(1e-12, high - low)
    if max(abs(low - other_low), abs(high - other_high)) < ENDED * span:
        return ""
    return "from x = {} to {}, not from {} to {}".format(*(_number(end, span) for end in marks))


def _change(marks: Ends | None) -> str:
    """How the values of a render become the target's; nothing where they span the same ones."""
    assert marks is not None
    low, high, other_low, other_high = marks
    span = max(1e-12, high - low)
    factor = span / max(1e-12, other_high - other_low)
    if abs(factor - 1) < ALIKE:
        off = (low + high - other_low - other_high) / 2
        way = "higher" if off > 0 else "lower"
        return f"about {_number(abs(off), max(span, abs(off)))} {way}" if abs(off) > ALIKE * span else ""
    return f"multiplied by about {factor:.2g}" if abs(low - factor * other_low) < 2 * ALIKE * span else ""


def _number(value: float, span: float) -> str:
    """A value to a hundredth of the span it lies in."""
    digits = 1 - int(np.floor(np.log10(span)))
    return f"{round(value, digits) + 0.0:.{max(0, digits)}f}"
