"""ChartMimic's protocol written down a second time, straight from its description: patches around the program, one
run for each score, no sandbox. `python by_hand.py` reads `{"id", "source"}` lines and answers with what it traced.
"""

import collections
import contextlib
import functools
import io
import json
import math
import os
import sys

COUNTED = (
    "bar", "barh", "plot", "axhline", "axvline", "axvspan", "axhspan", "hlines", "vlines", "errorbar", "boxplot",
    "violinplot", "violin", "hist", "fill_between", "fill_betweenx", "scatter", "quiver", "pie", "fill", "imshow",
    "pcolor", "contour", "contourf", "broken_barh", "tripcolor",
)  # fmt: skip


def trace_text(source: str) -> list:
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_pdf import RendererPdf

    strings: list[str] = []
    draw = RendererPdf.draw_text

    def draw_text(self, gc, x, y, s, *args, **kwargs):
        strings.append(s)
        return draw(self, gc, x, y, s, *args, **kwargs)

    RendererPdf.draw_text = draw_text
    run(source)
    try:
        for axes in plt.gcf().axes:
            axes.set_xticks([])
            axes.set_yticks([])
        plt.savefig(io.BytesIO(), format="pdf")
    except Exception:
        return []
    return strings


def trace_layout(source: str) -> list:
    import matplotlib.pyplot as plt

    run(source)
    found = []
    for axes in plt.gcf().axes:
        spec = axes.get_subplotspec()
        if spec is not None:
            grid = spec.get_gridspec()
            found.append([grid.nrows, grid.ncols, spec.rowspan.start, spec.rowspan.stop - 1,
                          spec.colspan.start, spec.colspan.stop - 1])  # fmt: skip
    return found


def trace_type(source: str) -> list:
    from matplotlib.axes import Axes
    from matplotlib.image import NonUniformImage
    from matplotlib.patches import Circle, Ellipse
    from matplotlib.projections.polar import PolarAxes
    from mpl_toolkits.mplot3d import Axes3D

    counts: collections.Counter = collections.Counter()
    inside = False

    def wrap(owner, name, label):
        function = getattr(owner, name)

        @functools.wraps(function)
        def call(*args, **kwargs):
            nonlocal inside
            if inside:
                return function(*args, **kwargs)
            inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                inside = False
            key = label + "_polar" if label == "2d plot" and isinstance(args[0], PolarAxes) else label
            counts[key] += 1
            return result

        setattr(owner, name, call)

    for name in COUNTED:
        wrap(Axes, name, f"2d {name}")
    for name in ("scatter", "plot", "plot_surface", "bar3d", "bar", "add_collection3d"):
        wrap(Axes3D, name, f"3d {name}")
    for kind, file in ((NonUniformImage, "image"), (Ellipse, "patches"), (Circle, "patches")):
        wrap(kind, "__init__", f"{file}.py __init__")  # the key is file and function, whichever class it is of
    run(source)
    return list(counts.elements())


def trace_color(source: str) -> list:
    from matplotlib.axes import Axes
    from matplotlib.axes._base import _process_plot_var_args
    from matplotlib.colors import to_hex
    from matplotlib.image import NonUniformImage
    from matplotlib.patches import Circle, Ellipse
    from matplotlib.projections.polar import PolarAxes
    from mpl_toolkits.mplot3d import Axes3D

    stored: dict = {}
    inside = False

    def wrap(owner, name, label, read, when=lambda args: True):
        """`read`: result, args, kwargs -> functions that say a colour now, or the colours of all elements."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def call(*args, **kwargs):
            nonlocal inside
            if inside or not when(args):
                return function(*args, **kwargs)
            inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                inside = False
            for now in read(result, args, kwargs):
                key = label + " polar" if isinstance(args[0], PolarAxes) and name in ("plot", "scatter") else label
                first = now()
                stored[key, first if isinstance(first, str) else first[-1]] = now
            return result

        setattr(owner, name, call)

    def hexed(value):
        return to_hex(value).upper()

    def of_line(artist):
        return lambda: hexed(artist.get_color())

    def of_patch(artist):
        return lambda: hexed(artist.get_facecolor())

    def nth_face(artist, n):
        return lambda: hexed(artist.get_facecolor()[n])

    def of_map(artist):
        return lambda: artist.get_cmap().name

    def first_face(result, args, kwargs):
        return [nth_face(result, 0)] if len(result.get_facecolor()) else []

    def all_faces(result, args, kwargs):
        return [lambda: [hexed(rgba) for rgba in result.get_facecolor()]] if len(result.get_facecolor()) else []

    def all_edges(result, args, kwargs):
        return [lambda: [hexed(rgba) for rgba in result.get_edgecolor()]] if len(result.get_edgecolor()) else []

    def mapped(result, args, kwargs):
        return [of_map(result)] if kwargs.get("cmap") is not None else first_face(result, args, kwargs)

    def mapped_all(result, args, kwargs):
        return [of_map(result)] if kwargs.get("cmap") is not None else all_faces(result, args, kwargs)

    def of_hist(result, args, kwargs):
        patches = result[2]
        if len(patches) and hasattr(patches[0], "__iter__"):
            patches = [patch for group in patches for patch in group]
        return [of_patch(patch) for patch in patches]

    def patches_of(result, args, kwargs):
        return [of_patch(patch) for patch in result]

    def one_line(result, args, kwargs):
        return [of_line(result)]

    def lines_of(result, args, kwargs):
        return [of_line(artist) for artist in result]

    def one_patch(result, args, kwargs):
        return [of_patch(result)]

    def one_map(result, args, kwargs):
        return [of_map(result)]

    wrap(_process_plot_var_args, "_make_line", "line", lambda result, args, kwargs: [of_line(result[0])])
    wrap(Axes, "plot", "2d plot", lines_of, lambda args: isinstance(args[0], PolarAxes))
    for name, read in {
        "bar": patches_of, "scatter": mapped, "axhline": one_line, "axvline": one_line, "axvspan": one_patch,
        "axhspan": one_patch, "hlines": all_edges, "vlines": all_edges, "_fill_between_x_or_y": first_face,
        "pie": lambda result, args, kwargs: [of_patch(wedge) for wedge in result[0]], "hist": of_hist,
        "boxplot": lambda r, args, kwargs: [of_patch(b) for b in r["boxes"] if hasattr(b, "get_facecolor")],
        "violin": lambda r, args, kwargs: [nth_face(b, 0) for b in r["bodies"]], "quiver": all_faces,
        "fill": patches_of, "broken_barh": all_faces, "imshow": one_map, "pcolor": one_map, "contour": one_map,
        "contourf": one_map, "tripcolor": one_map,
    }.items():  # fmt: skip
        wrap(Axes, name, f"2d {name}", read)
    for name, read in {
        "scatter": mapped_all, "plot": lines_of, "plot_surface": mapped, "bar": patches_of, "bar3d": first_face,
        "add_collection3d": all_faces,
    }.items():  # fmt: skip
        wrap(Axes3D, name, f"3d {name}", read)
    wrap(NonUniformImage, "__init__", "NonUniformImage", lambda result, args, kwargs: [of_map(args[0])])
    for kind in (Ellipse, Circle):
        only = lambda result, args, kwargs, kind=kind: [of_patch(args[0])] if type(args[0]) is kind else []  # noqa: E731
        wrap(kind, "__init__", "patches.py __init__", only)
    run(source)
    import matplotlib.pyplot as plt

    plt.savefig(io.BytesIO(), format="pdf")
    shown = [(where, now()) for (where, _), now in stored.items()]
    return sorted({(where, c) for where, seen in shown for c in ([seen] if isinstance(seen, str) else seen)})


def trace_exec(source: str) -> list:
    namespace = {"__name__": "__main__"}
    exec(compile(source, "program", "exec"), namespace)
    exec("plt.savefig(out, format='pdf')", {**namespace, "out": io.BytesIO()})
    return [1]


def run(source: str) -> None:
    """The benchmark's second variant: whatever the program raises is passed over."""
    with contextlib.suppress(BaseException):
        exec(compile(source, "program", "exec"), {"__name__": "__main__"})


TRACES = {"exec": trace_exec, "text": trace_text, "layout": trace_layout, "type": trace_type, "color": trace_color}


def cut(source: str) -> str:
    for end in ("plt.savefig(", "plt.show("):
        source = source.split(end)[0]
    return source


# the scores


def matches(golden: list, generated: list) -> float:
    left, hits = list(generated), 0
    for item in golden:
        if item in left:
            left.remove(item)
            hits += 1
    if not golden or not generated or not hits:
        return 0.0
    precision, recall = hits / len(generated), hits / len(golden)
    return 2 * precision * recall / (precision + recall)


def to_lab(colour: str) -> tuple[float, float, float]:
    linear = []
    for i in (1, 3, 5):
        v = int(colour[i : i + 2], 16) / 255
        linear.append(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
    r, g, b = linear
    xyz = (
        (0.412424 * r + 0.357579 * g + 0.180464 * b) / 0.95047,
        0.212656 * r + 0.715158 * g + 0.0721856 * b,
        (0.0193324 * r + 0.119193 * g + 0.950444 * b) / 1.08883,
    )
    x, y, z = (t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Sharma, Wu, Dalal 2005, equations 2 to 22, one pair at a time."""
    (l1, a1, b1), (l2, a2, b2) = first, second
    c = (math.hypot(a1, b1) + math.hypot(a2, b2)) / 2
    g = 0.5 * (1 - math.sqrt(c**7 / (c**7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1 = math.degrees(math.atan2(b1, a1)) % 360 if c1 else 0.0
    h2 = math.degrees(math.atan2(b2, a2)) % 360 if c2 else 0.0
    dh = h2 - h1 if c1 * c2 else 0.0
    dh = dh - 360 if dh > 180 else dh + 360 if dh < -180 else dh
    big_h = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(dh) / 2)
    if c1 * c2 == 0:
        h = h1 + h2
    elif abs(h1 - h2) <= 180:
        h = (h1 + h2) / 2
    else:
        h = (h1 + h2 + 360) / 2 if h1 + h2 < 360 else (h1 + h2 - 360) / 2
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    t = 1 - 0.17 * math.cos(math.radians(h - 30)) + 0.24 * math.cos(math.radians(2 * h))
    t += 0.32 * math.cos(math.radians(3 * h + 6)) - 0.2 * math.cos(math.radians(4 * h - 63))
    sl = 1 + 0.015 * (lm - 50) ** 2 / math.sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    rt = -2 * math.sqrt(cm**7 / (cm**7 + 25**7)) * math.sin(math.radians(60 * math.exp(-(((h - 275) / 25) ** 2))))
    x, y, z = (l2 - l1) / sl, (c2 - c1) / sc, big_h / sh
    return math.sqrt(x * x + y * y + z * z + rt * y * z)


def alike(first: str, second: str) -> float:
    if first.startswith("#") and second.startswith("#"):
        return max(0.0, 1 - ciede2000(to_lab(first), to_lab(second)) / 100)
    return float(first == second)


def few(entries: list) -> list:
    """More than ten: keep one only if it is not alike to any kept before. Ours go by name, so that a run repeats."""
    entries = sorted(map(tuple, entries))
    if len(entries) <= 10:
        return entries
    kept: list = []
    for entry in entries:
        if all(alike(entry[1], other[1]) <= 0.7 for other in kept):
            kept.append(entry)
    return kept


def best(short: list[str], long: list[str]) -> float:
    """The best sum over all ways to give each of the shorter list one of the longer."""

    @functools.cache
    def rest(i: int, taken: int) -> float:
        if i == len(short):
            return 0.0
        ways = [alike(short[i], c) + rest(i + 1, taken | 1 << j) for j, c in enumerate(long) if not taken >> j & 1]
        return max(ways)

    return rest(0, 0)


def colour_f1(golden: list, generated: list) -> float:
    golden, generated = few(golden), few(generated)
    total = 0.0
    for function in {where for where, _ in golden}:
        sides = sorted(([c for w, c in side if w == function] for side in (golden, generated)), key=len)
        total += best(*sides)
    if not golden or not generated or not total:
        return 0.0
    precision, recall = total / len(generated), total / len(golden)
    return 2 * precision * recall / (precision + recall)


def scores(golden: dict, generated: dict) -> dict[str, float]:
    """From the traces of two programs; all zero where the second does not run."""
    if not generated["exec"]:
        return dict.fromkeys(TRACES, 0.0)
    found = {name: matches(golden[name], generated[name]) for name in ("text", "layout", "type")}
    return {"exec": 1.0, **found, "color": colour_f1(golden["color"], generated["color"])}


def main() -> None:
    """One process for each trace of each program, forked before anything was drawn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot
    import mpl_toolkits.mplot3d  # noqa: F401
    import numpy.random

    for line in sys.stdin:
        row = json.loads(line)
        found = {}
        for name, tracer in TRACES.items():
            reader, writer = os.pipe()
            if os.fork() == 0:
                numpy.random.seed(0)
                try:
                    result = tracer(cut(row["source"]))
                except BaseException:
                    result = []
                os.write(writer, json.dumps(result).encode())
                os._exit(0)
            os.close(writer)
            with open(reader, "rb") as file:
                found[name] = json.loads(file.read() or b"[]")
            os.wait()
        print(json.dumps({"id": row["id"], **found}), flush=True)


if __name__ == "__main__":
    main()
