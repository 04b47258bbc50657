"""Charts in many looks, the same program in other margins, sizes and typefaces, and the same chart with one fault.

Guarantees: a chart depends on its index alone; COSMETIC versions show the same content, FAULTS change exactly one thing
and stand from the most harmful to the least; pictures are drawn once and kept in `.cache` until this file changes.
"""

import functools
import hashlib
import io
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[3]
KINDS = ("bar", "barh", "line", "scatter", "pie", "grouped", "lines", "area")
OTHER_KIND = {"bar": "line", "barh": "bar", "line": "bar", "scatter": "line", "pie": "bar", "grouped": "lines",
              "lines": "grouped", "area": "scatter"}  # fmt: skip
COLOURS = ("red", "tab:blue", "green", "orange", "purple", "brown", "hotpink", "teal")
TITLES = ("Sales", "Costs by year", "Growth of output", "Profit", "Users", "Orders 2024", "Visits a day", "Energy")
LABELS = ("Week", "Month", "Region", "Year", "Time in s", "Share")
STYLES = ("default", "default", "ggplot", "bmh", "seaborn-v0_8-whitegrid", "dark_background", "Solarize_Light2",
          "fivethirtyeight", "classic", "open", "grid", "thick")  # fmt: skip
CUSTOM: dict[str, dict[str, Any]] = {
    "open": {"axes.spines.top": False, "axes.spines.right": False},
    "grid": {"axes.grid": True, "grid.linestyle": ":"},
    "thick": {"axes.linewidth": 2.0, "lines.linewidth": 3.0, "font.family": "DejaVu Serif"},
}
SIZES: dict[str, tuple[float, float, float]] = {  # inches and dots an inch
    "168x140": (2.1, 1.75, 80),
    "224x168": (2.8, 2.1, 80),
    "640x480": (6.4, 4.8, 100),
}


@dataclass(frozen=True)
class Chart:
    """What a chart shows (`kind` to `legend`) and how (`look` and what follows)."""

    kind: str
    values: tuple[tuple[int, ...], ...]  # of each series
    colours: tuple[str, ...]  # of each series, or of each wedge
    title: str
    label: str  # of the x axis
    legend: bool
    look: str = "default"
    size: tuple[float, float, float] = SIZES["640x480"]
    font: str = ""
    margins: tuple[float, float, float, float] | None = None  # left, bottom, right, top of subplots_adjust
    engine: str = ""
    tight: bool = False


def chart(index: int, size: str) -> Chart:
    """Chart `index` of a size of SIZES."""
    rng = random.Random(f"looks/{index}")
    kind = KINDS[index % len(KINDS)]
    series = 2 if kind in ("grouped", "lines") else 1
    count = rng.randint(3, 6)
    values = tuple(tuple(rng.randint(1, 9) for _ in range(count)) for _ in range(series))
    colours = tuple(rng.sample(COLOURS, count if kind == "pie" else series))
    look = STYLES[(index // len(KINDS)) % len(STYLES)] if kind != "pie" else "default"
    label = rng.choice(("", *LABELS))
    margins = None if size == "640x480" else (0.16, 0.24, 0.95, 0.82)  # by default a small figure cuts its title off
    return Chart(kind, values, colours, rng.choice(TITLES), label, series > 1, look, SIZES[size], margins=margins)


@functools.cache
def draw(c: Chart) -> bytes:
    """PNG bytes of a chart."""
    settings = dict(CUSTOM.get(c.look, {}))
    if c.font:
        settings |= {"font.family": c.font}
    with style.context("default" if c.look in CUSTOM else c.look), rc_context(settings):
        figure = Figure(figsize=c.size[:2], dpi=c.size[2], layout=c.engine or "none")  # type: ignore[arg-type]
        axes = figure.subplots()
        _plot(axes, c)
        axes.set_title(c.title)
        if c.label and c.kind != "pie":
            axes.set_xlabel(c.label)
        if c.legend:
            axes.legend()
        if c.margins:
            figure.subplots_adjust(*c.margins)
        out = io.BytesIO()
        figure.savefig(out, dpi=c.size[2], bbox_inches="tight" if c.tight else None, facecolor=figure.get_facecolor())
        return out.getvalue()


def _plot(axes: Axes, c: Chart) -> None:
    places = list(range(1, len(c.values[0]) + 1))
    for n, (values, colour) in enumerate(zip(c.values, c.colours, strict=False)):
        match c.kind:
            case "bar":
                axes.bar(places, values, color=colour)
            case "barh":
                axes.barh(places, values, color=colour)
            case "grouped":
                axes.bar([p + 0.4 * n for p in places], values, width=0.4, color=colour, label=f"group {n + 1}")
            case "line" | "lines":
                axes.plot(places, values, color=colour, label=f"group {n + 1}")
            case "scatter":
                axes.scatter(places, values, color=colour)
            case "area":
                axes.fill_between(places, values, color=colour)
            case "pie":
                axes.pie(values, colors=list(c.colours))


def _one_value(c: Chart, by: int) -> Chart:
    """One value other by `by`, up where there is room."""
    rng = random.Random(f"{c.values}/{by}")
    series, place = rng.randrange(len(c.values)), rng.randrange(len(c.values[0]))
    old = c.values[series][place]
    new = old + by if old + by <= 9 else old - by
    if new < 1:
        new = old + by
    row = (*c.values[series][:place], new, *c.values[series][place + 1 :])
    return replace(c, values=(*c.values[:series], row, *c.values[series + 1 :]))


def _other_kind(c: Chart) -> Chart:
    return replace(c, kind=OTHER_KIND[c.kind], colours=c.colours[: len(c.values)])


def _other_data(c: Chart) -> Chart:
    rng = random.Random(f"{c.values}/all")
    while True:
        values = tuple(tuple(rng.randint(1, 9) for _ in row) for row in c.values)
        apart = sum(
            abs(a - b) for old, new in zip(c.values, values, strict=True) for a, b in zip(old, new, strict=True)
        )
        if apart >= 2 * sum(map(len, values)):
            return replace(c, values=values)


def _other_colours(c: Chart) -> Chart:
    rng = random.Random(f"{c.colours}")
    rest = [colour for colour in COLOURS if colour not in c.colours]
    few = rng.sample(rest, min(len(rest), len(c.colours)))
    return replace(c, colours=tuple([*few, *c.colours][: len(c.colours)]))


def _typo(c: Chart) -> Chart:
    rng = random.Random(f"{c.title}/typo")
    place = rng.randrange(1, len(c.title.split()[0]))
    letter = rng.choice([x for x in "aeimnoprst" if x != c.title[place]])
    return replace(c, title=c.title[:place] + letter + c.title[place + 1 :])


FAULTS: dict[str, Callable[[Chart], Chart]] = {
    "kind": _other_kind,
    "data": _other_data,
    "colours": _other_colours,
    "value by 4": lambda c: _one_value(c, 4),
    "value by 1": lambda c: _one_value(c, 1),
    "typo": _typo,
}


def _scaled(c: Chart, scale: float = 1.0, dpi: float | None = None) -> Chart:
    return replace(c, size=(c.size[0] * scale, c.size[1] * scale, dpi or c.size[2]))


COSMETIC: dict[str, Callable[[Chart], Chart]] = {
    "margins": lambda c: replace(c, margins=(0.24, 0.28, 0.97, 0.84)),
    "tight box": lambda c: replace(c, tight=True),
    "tight layout": lambda c: replace(c, engine="tight", margins=None),
    "constrained": lambda c: replace(c, engine="constrained", margins=None),
    "dpi 60": lambda c: _scaled(c, dpi=60),
    "dpi 150": lambda c: _scaled(c, dpi=150),
    "dpi 300": lambda c: _scaled(c, dpi=300),
    "scale .7": lambda c: replace(_scaled(c, 0.7), engine="constrained", margins=None),
    "scale 1.5": lambda c: _scaled(c, 1.5),
    "serif": lambda c: replace(c, font="DejaVu Serif"),
    "stix": lambda c: replace(c, font="STIXGeneral"),
}


def versions(index: int, size: str) -> dict[str, bytes]:
    """PNG bytes by name: `base`, every cosmetic version and every fault."""
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    kept = ROOT / ".cache" / "judge" / f"looks-{digest}" / f"{size}-{index}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    base = chart(index, size)
    made = {"base": draw(base)} | {name: draw(change(base)) for name, change in {**COSMETIC, **FAULTS}.items()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(made))
    return made
