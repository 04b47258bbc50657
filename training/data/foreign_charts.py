"""Pictures for which no Matplotlib program exists: the same facts drawn by Vega-Lite and, never trained on, by Pillow.

Guarantees: a picture depends on (seed, set, index) alone; facts of the held-out sets are held out of training too (see
`is_held_out`). The axes lie about where Matplotlib's default axes lie, for the base policy reads no other frame.
"""

import io
import json
import random
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

from training.data import shipped
from training.data.synthetic_charts import KINDS, SIZE, Chart, Split, chart

SEED = 22
SHIPPED = Path(__file__).with_name("foreign_charts.zip")
SETS: dict[str, tuple[int, Split]] = {
    "train": (800, "train"),
    "validation": (100, "train"),
    "heldout": (300, "heldout"),
    "third": (200, "heldout"),
}
LEFT, TOP, RIGHT, BOTTOM = 38, 24, 30, 22  # of the axes, pixels: figsize=(3,2), subplot .125 to .9 and .11 to .88
FONTS = ("DejaVu Sans", "DejaVu Sans", "DejaVu Serif")  # Matplotlib's files, so that every machine has them
TABLEAU = {"tab:blue": "#1f77b4", "tab:orange": "#ff7f0e", "tab:green": "#2ca02c"}


def facts(name: str, index: int) -> Chart:
    """What picture `index` of a set shows; the sets share no picture, as their numbers lie apart."""
    place = list(SETS).index(name) * 100_000 + index
    return chart(KINDS[index % len(KINDS)], "framed", place, SEED, SETS[name][1])


def picture(name: str, index: int) -> bytes:
    """PNG of picture `index` of a set."""
    rng = random.Random(f"{SEED}/{name}/{index}")
    draw = pillow if name == "third" else vega
    return shipped.small(draw(facts(name, index), rng))


def vega(found: Chart, rng: random.Random) -> Image.Image:
    """By Vega-Lite, with its own grid, domain lines, ticks and scales."""
    import vl_convert

    data = [{"x": i + 1, "y": value} for i, value in enumerate(found.values)]
    grid, font = rng.random() < 0.6, rng.choice(FONTS)
    shade = rng.choice(("#222", "#555", "#888"))
    axis = {"title": None, "labelFontSize": rng.choice((11, 12, 13)), "labelFont": font, "labelColor": shade}
    axis |= {"domainColor": shade, "tickColor": shade, "gridColor": rng.choice(("#ddd", "#eee", "#e5e5f0"))}
    count = len(found.values)
    discrete = found.kind in ("bar", "barh")
    if discrete:
        inner = rng.uniform(0.15, 0.4)
        place: dict[str, Any] = {"field": "x", "type": "ordinal", "axis": axis | {"labelAngle": 0, "grid": False}}
        place["scale"] = {"paddingInner": inner, "paddingOuter": rng.uniform(0.15, 0.4)}
    else:
        margin = 0.05 * (count - 1)
        place = {"field": "x", "type": "quantitative", "axis": axis | {"values": [d["x"] for d in data], "grid": grid}}
        place["axis"]["format"] = "d"
        place["scale"] = {"domain": [1 - margin, count + margin], "nice": False, "zero": False}
    zero = discrete or found.kind == "fill_between" or rng.random() < 0.6
    measure = {
        "field": "y",
        "type": "quantitative",
        "axis": axis | {"grid": grid, "tickCount": 5, "tickMinStep": 1, "format": "d"},
    }
    low, high = min(found.values), max(found.values)
    bottom = 0.0 if zero else low - max(0.4, 0.06 * (high - low))
    # No tick at the very top: its label would push the title out of the picture.
    measure["scale"] = {"domain": [bottom, high + rng.choice((0.2, 0.4, 0.7))], "nice": False}
    colour = TABLEAU.get(found.colour, found.colour)
    marks: dict[str, dict[str, Any]] = {
        "bar": {"type": "bar"},
        "barh": {"type": "bar"},
        "plot": {"type": "line", "strokeWidth": rng.choice((2, 2.5, 3)), "point": False},
        "scatter": {"type": "point", "filled": True, "size": rng.randint(50, 120), "opacity": 1},
        "fill_between": {"type": "area", "opacity": rng.choice((1, 0.9))},
    }
    encoding = {"x": place, "y": measure}
    if found.kind == "barh":
        encoding = {"y": place | {"sort": "descending"}, "x": measure}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": SIZE[0] - LEFT - RIGHT,
        "height": SIZE[1] - TOP - BOTTOM,
        "autosize": "none",
        "padding": {"left": LEFT, "top": TOP, "right": RIGHT, "bottom": BOTTOM},
        "background": rng.choice(("white", "white", "#fafafa", "#fffef5")),
        "data": {"values": data},
        "mark": marks[found.kind] | {"color": colour},
        "encoding": encoding,
        "title": {
            "text": found.title, "font": font, "fontSize": rng.choice((14, 15, 16)), "offset": 5,
            "fontWeight": rng.choice(("normal", "normal", "bold")), "anchor": "middle",
        },
        "config": {"view": {"stroke": rng.choice((None, "#ddd", "#888"))}},
    }  # fmt: skip
    png = vl_convert.vegalite_to_png(json.dumps(spec), scale=1)
    return Image.open(io.BytesIO(png)).convert("RGB")


def pillow(found: Chart, rng: random.Random) -> Image.Image:
    """By hand, at four times the size: rounded marks, dashed lines of the grid, a font that no chart library has."""
    k = 4
    image = Image.new("RGB", (SIZE[0] * k, SIZE[1] * k), rng.choice(("#ffffff", "#fbfaf5", "#f4f7fa")))
    pen = ImageDraw.Draw(image)
    left, top, right, bottom = LEFT * k, TOP * k, (SIZE[0] - RIGHT) * k, (SIZE[1] - BOTTOM) * k
    colour = ImageColor.getrgb(TABLEAU.get(found.colour, found.colour))
    ink, count, high = rng.choice(("#333333", "#5a5a6e")), len(found.values), max(found.values) + rng.choice((0.4, 1.0))
    small, large = ImageFont.load_default(13 * k), ImageFont.load_default(rng.choice((16, 17)) * k)
    flat = found.kind == "barh"
    span, across = (right - left, bottom - top) if flat else (bottom - top, right - left)

    def measured(value: float) -> float:
        return left + span * value / high if flat else bottom - span * value / high

    def placed(i: int) -> float:
        bars = found.kind in ("bar", "barh")
        share = (i + 0.6) / (count + 0.2) if bars else 0.045 + 0.91 * i / (count - 1)
        return bottom - across * share if flat else left + across * share

    for tick in range(0, int(high) + 1, 2 if high > 4 else 1):
        at = measured(tick)
        for start in range(top if flat else left, bottom if flat else right, 6 * k):
            pen.line((at, start, at, start + 3 * k) if flat else (start, at, start + 3 * k, at), "#d8d8d8", k)
        where, anchor = ((at, bottom + 4 * k), "mt") if flat else ((left - 4 * k, at), "rm")
        pen.text(where, str(tick), ink, small, anchor=anchor)
    for i in range(count):
        where, anchor = ((left - 4 * k, placed(i)), "rm") if flat else ((placed(i), bottom + 4 * k), "mt")
        pen.text(where, str(i + 1), ink, small, anchor=anchor)
    points = [(placed(i), measured(value)) for i, value in enumerate(found.values)]
    thick = across / (count + 0.2) * rng.uniform(0.55, 0.8) / 2
    if found.kind == "bar":
        for x, y in points:
            pen.rounded_rectangle((x - thick, y, x + thick, bottom), 3 * k, colour, corners=(True, True, False, False))
    elif flat:
        for y, x in points:
            pen.rounded_rectangle((left, y - thick, x, y + thick), 3 * k, colour, corners=(False, True, True, False))
    elif found.kind == "plot":
        pen.line(points, colour, 3 * k, joint="curve")
    elif found.kind == "fill_between":
        pen.polygon([(points[0][0], bottom), *points, (points[-1][0], bottom)], colour)
    else:
        for x, y in points:
            pen.ellipse((x - 5 * k, y - 5 * k, x + 5 * k, y + 5 * k), colour)
    pen.line((left, top, left, bottom) if flat else (left, bottom, right, bottom), ink, 2 * k)
    pen.text(((left + right) / 2, (TOP - 5) * k), found.title, ink, large, anchor="ms")
    return image.resize(SIZE, Image.Resampling.LANCZOS)


def write(path: Path) -> None:
    """All sets with their manifest in one zip."""
    import matplotlib
    import vl_convert

    vl_convert.register_font_directory(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf"))
    shipped.write(path, {name: count for name, (count, _) in SETS.items()}, facts, picture)
