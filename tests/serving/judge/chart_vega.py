"""The same charts drawn by Vega-Lite: no Matplotlib program is pixel-equal to them."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

from tests.serving.judge.chart_looks import FAULTS, ROOT, Chart, chart, draw

MARKS = {"bar": "bar", "barh": "bar", "line": "line", "scatter": "point", "area": "area"}
HEX = {"red": "#ff0000", "green": "#008000", "orange": "#ffa500", "purple": "#800080", "brown": "#a52a2a",
       "hotpink": "#ff69b4", "teal": "#008080", "tab:blue": "#1f77b4"}  # fmt: skip


def spec(c: Chart, grid: bool, small: bool) -> dict[str, Any]:
    """The Vega-Lite specification of a chart of one series."""
    place: dict[str, Any] = {"field": "place", "type": "ordinal" if "bar" in c.kind else "quantitative"}
    place |= {"title": c.label or None, "axis": {"grid": grid, "labelAngle": 0}, "scale": {"zero": False}}
    if "bar" in c.kind:
        del place["scale"]
    value = {"field": "value", "type": "quantitative", "title": None, "axis": {"grid": grid}}
    if c.kind == "barh":
        place["sort"] = "descending"
    if c.kind in ("line", "scatter"):
        value["scale"] = {"zero": False}  # type: ignore[assignment]
    mark: dict[str, Any] = {"type": MARKS[c.kind], "color": HEX[c.colours[0]]}
    if c.kind == "scatter":
        mark |= {"filled": True, "size": 36, "opacity": 1}
    data = [{"place": n + 1, "value": v} for n, v in enumerate(c.values[0])]
    x, y = (value, place) if c.kind == "barh" else (place, value)
    width, height, font = (130, 108, 8) if small else (500, 370, 12)
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": width,
        "height": height,
        "background": "white",
        "title": {"text": c.title, "fontSize": font + 2},
        "data": {"values": data},
        "mark": mark,
        "encoding": {"x": x, "y": y},
        "config": {"axis": {"labelFontSize": font, "titleFontSize": font}},
    }


def versions(index: int, size: str) -> dict[str, bytes] | None:
    """`base` by Vega-Lite, `true` the same content by Matplotlib and each fault by Matplotlib; None for charts that are
    not of one series on two axes."""
    import vl_convert

    c = chart(index, size)
    if c.kind not in MARKS:
        return None
    source = Path(__file__).read_bytes() + Path(__file__).with_name("chart_looks.py").read_bytes()
    kept = ROOT / ".cache" / "judge" / f"vega-{hashlib.sha256(source).hexdigest()[:12]}" / f"{size}-{index}.pickle"
    if kept.exists():
        return pickle.loads(kept.read_bytes())
    made = {"base": vl_convert.vegalite_to_png(spec(c, index % 2 == 0, size != "640x480")), "true": draw(c)}
    made |= {name: draw(change(c)) for name, change in FAULTS.items()}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(pickle.dumps(made))
    return made
