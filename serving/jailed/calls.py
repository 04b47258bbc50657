"""Which calls of a chart program count, what they paint, and what its figure looks like in the end.

Guarantees: the functions, their nesting and the keys are those of ChartMimic's evaluators (arXiv 2406.09961): the kind
of a chart follows from its outermost calls, a colour by the artists that outermost painting calls returned, read when
the program has ended; a collection counts with the first of its colours, or with each where the evaluators take each
(hlines, vlines, quiver, broken_barh, networks, scatter and collections in three dimensions); a colour map that a call
names counts by that name, used or not.

`chartmimic` departs from them where they are wrong: a call that raises does not hide the calls after it, a bar whose
colour is set by name counts, and the calls by which seaborn asks for the next colour do not. `official` has these
faults. `official_type` and `official_color` are what each of two evaluators makes of a program with seaborn: what an
evaluator replaces is called `wrapper` there, by which seaborn does not know it.
The texts of Plot2Code (arXiv 2405.07990) are the visible ones of the artist tree. Nothing here is trusted to keep a
record: that is `serving.jailed.trace`, which runs this inside the jail.
"""

import functools
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.jailed.trace import Records

PDF = "traced-figure.pdf"
AXES = """bar barh plot axhline axvline axvspan axhspan hlines vlines errorbar boxplot violinplot violin hist
    fill_between fill_betweenx scatter quiver pie fill imshow pcolor contour contourf broken_barh tripcolor"""
AXES_3D = "scatter plot plot_surface bar3d bar add_collection3d"
NETWORKX = ("draw_networkx_nodes", "draw_networkx_edges", "draw_networkx_labels")
# what the evaluator of colours replaces, but for lines of straight axes
COLORED = frozenset(
    """bar scatter axhline axvline pie axvspan axhspan hlines vlines boxplot violinplot hist quiver imshow pcolor
    contour contourf fill broken_barh tripcolor""".split()  # noqa: SIM905
)
# an artist and what its colour is: line, edge, face, cmap; bar: the face as it was set; each edge or face of a
# collection: edges, faces; each face of several artists: all; a name in the artist's place: name
Part = tuple[Any, str]
Painted = Callable[[tuple[Any, ...], dict[str, Any], Any], list[Part]]  # arguments, options, result -> parts


def watch(records: "Records", label: str, original: Callable[..., Any], counted: bool, painted: Painted | None,
          state: dict[str, bool]) -> Callable[..., Any]:  # fmt: skip
    """`original`, with outermost calls counted and what it paints kept; each of the two has its own nesting."""
    from matplotlib.projections.polar import PolarAxes

    plain, polar = records.caller(label), records.caller(f"{label}_polar")
    paint, parts = records.paint, painted
    lines, by_axes = label.endswith("_axes.plot"), label.endswith((".plot", ".scatter"))
    official = state["official"]

    def traced(*args: Any, **options: Any) -> Any:
        axes = args[0] if by_axes and args else None
        round_axes = type(axes) is PolarAxes  # an heir's plots have another name, and no colour
        count = counted and not state["calls"]
        # lines of straight axes are met where they are made
        keep = parts is not None and not state["paints"] and (isinstance(axes, PolarAxes) or not lines)
        state["calls"] |= count
        state["paints"] |= keep
        if count and official:
            (polar if round_axes and label.endswith(".plot") else plain)()
        done = False
        try:
            result = original(*args, **options)
            done = True
        finally:
            if done or not official:
                state["calls"] &= not count
                state["paints"] &= not keep
        if count and not official:
            (polar if round_axes and label.endswith(".plot") else plain)()
        if keep and parts is not None and (round_axes or not lines):
            where = f"{label}_polar" if round_axes else label
            for part in parts(args, options, result):
                if now := colours(part):
                    paint((where, now[-1], part))
        return result

    return traced


def colours(part: Part) -> list[str]:
    """The distinct `#RRGGBB` of a part as it is now, or the name of its colour map; none where it shows none."""
    from matplotlib.colors import to_hex

    artist, what = part
    if what == "name":
        return [str(artist)]
    if what == "cmap":
        return [str(artist.get_cmap().name)]
    if what == "all":
        return list(dict.fromkeys(to_hex(each.get_facecolor()).upper() for each in artist))
    if what == "bar":
        return [to_hex(tuple(artist._original_facecolor)).upper()]
    if what == "line":
        found = artist.get_color()
    elif what in ("edge", "edges"):
        found = artist.get_edgecolor()
    else:
        found = artist.get_facecolor()
    if getattr(found, "ndim", 1) == 2:
        rows = found if what in ("edges", "faces") else found[:1]
        distinct = list(dict.fromkeys(map(tuple, rows[::-1, :3])))[::-1]  # the last stays the last
        return list(dict.fromkeys(to_hex(row).upper() for row in distinct))
    return [to_hex(found).upper()]


def install(records: "Records", source: str, mode: str) -> dict[str, bool]:
    """Put the tracing functions of a mode in place. Returns their state: within a counted call, a painting one; texts
    count; the mode is one of the original's."""
    from matplotlib import image, patches
    from matplotlib.axes import Axes
    from matplotlib.axes._base import _process_plot_var_args  # type: ignore[attr-defined]
    from matplotlib.backends.backend_pdf import RendererPdf
    from mpl_toolkits.mplot3d import Axes3D

    state = {"calls": False, "paints": False, "texts": True, "official": mode != "chartmimic"}

    def add(owner: Any, name: str, counted: bool, painted: Painted | None) -> None:
        original = getattr(owner, name, None)
        counted &= mode != "official_color"
        painted = None if mode == "official_type" else painted
        if original is not None and (counted or painted):
            label = f"{original.__module__}.{original.__name__}"  # so that all constructors of a file are one
            nameless = mode == "official_type" or (mode == "official_color" and name in COLORED)
            records.replace(owner, name, watch(records, label, original, counted, painted, state), nameless)

    for name in AXES.split():
        painted = PAINTED.get(name)
        add(Axes, name, True, bars if painted is faces and name == "bar" and state["official"] else painted)
    for name in AXES_3D.split():
        add(Axes3D, name, True, PAINTED_3D.get(name))
    add(Axes, "_fill_between_x_or_y", False, face)
    add(_process_plot_var_args, "_make_line", False, lambda args, options, result: [(result[0], "line")])
    add(image.NonUniformImage, "__init__", True, lambda args, options, result: [(args[0], "cmap")])
    for kind in (patches.Ellipse, patches.Circle):
        add(kind, "__init__", True, functools.partial(own_face, kind))
    add_optional(add, source)
    if "seaborn" in source and not state["official"]:
        mute_scouts(records, state)
    draw_text, write = RendererPdf.draw_text, records.text

    def recorded(renderer: Any, gc: Any, x: Any, y: Any, s: str, *args: Any, **options: Any) -> None:
        if state["texts"]:
            write(str(s))
        draw_text(renderer, gc, x, y, s, *args, **options)

    records.replace(RendererPdf, "draw_text", recorded)
    return state


def mute_scouts(records: "Records", state: dict[str, bool]) -> None:
    """seaborn learns the next colour of axes by a plot that it removes at once: nobody sees that one."""
    try:
        import seaborn
    except ImportError:
        return
    for module in (seaborn.utils, seaborn.relational, seaborn.distributions, seaborn.categorical):
        if (original := getattr(module, "_default_color", None)) is not None:
            records.replace(module, "_default_color", functools.partial(muted, original, state))


def muted(original: Callable[..., Any], state: dict[str, bool], *args: Any, **options: Any) -> Any:
    """`original`, in which no call counts."""
    before = state["calls"], state["paints"]
    state["calls"] = state["paints"] = True
    try:
        return original(*args, **options)
    finally:
        state["calls"], state["paints"] = before


def add_optional(add: Callable[..., None], source: str) -> None:
    """The libraries that ChartMimic's evaluators know besides Matplotlib, where a program names one and it is here."""
    if "networkx" in source:
        try:
            import networkx
            from networkx.drawing import nx_pylab
        except ImportError:
            pass
        else:
            for name, painted in zip(NETWORKX, (each_face, network_edges, network_labels), strict=True):
                for owner in (networkx, nx_pylab):
                    add(owner, name, True, painted)
    if "squarify" in source:
        try:
            import squarify
        except ImportError:
            pass
        else:
            add(squarify, "plot", True, lambda args, options, result: [(p, "face") for p in result.patches])
    if "matplotlib_venn" in source:
        try:
            from matplotlib_venn._common import VennDiagram
        except ImportError:
            pass
        else:
            patches: Painted = lambda args, options, result: [([p for p in args[0].patches if p], "all")]  # noqa: E731
            add(VennDiagram, "__init__", True, patches)


def line(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(artist, "line") for artist in (result if isinstance(result, list) else [result])]


def face(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(result, "face")] if len(result.get_facecolor()) else []


def own_face(kind: type, args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    """Of what `kind` itself constructed; an heir's counts as a call, not as a colour."""
    return [(args[0], "face")] if type(args[0]) is kind else []


def each_face(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(result, "faces")]


def each_line(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(result, "edges")]


def cmap(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(result, "cmap")]


def named(cmap: Any) -> list[Part]:
    return [(cmap if isinstance(cmap, str) else cmap.name, "name")]


def mapped(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return named(options["cmap"]) if options.get("cmap") is not None else face(args, options, result)


def mapped_each(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return named(options["cmap"]) if options.get("cmap") is not None else each_face(args, options, result)


def faces(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(patch, "face") for patch in result]


def bars(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(patch, "bar") for patch in result]


def hist(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    groups = result[2] if len(result[2]) and hasattr(result[2][0], "__iter__") else [result[2]]
    return [(patch, "face") for group in groups for patch in group]


def boxes(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(box, "face") for box in result["boxes"] if hasattr(box, "get_facecolor")]


def network_edges(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(result, "all")] if isinstance(result, list) else each_line(args, options, result)


def network_labels(args: tuple[Any, ...], options: dict[str, Any], result: Any) -> list[Part]:
    return [(text, "line") for text in result.values()]


PAINTED: dict[str, Painted] = {
    "bar": faces, "plot": line, "scatter": mapped, "axhline": line, "axvline": line, "hist": hist, "boxplot": boxes,
    "axvspan": lambda args, options, result: [(result, "face")], "hlines": each_line, "vlines": each_line,
    "axhspan": lambda args, options, result: [(result, "face")], "quiver": each_face, "fill": faces,
    "pie": lambda args, options, result: [(wedge, "face") for wedge in result[0]], "broken_barh": each_face,
    "violinplot": lambda args, options, result: [(body, "face") for body in result["bodies"]],
    "imshow": cmap, "pcolor": cmap, "contour": cmap, "contourf": cmap, "tripcolor": cmap,
}  # fmt: skip
PAINTED_3D: dict[str, Painted] = {
    "scatter": mapped_each, "plot": line, "plot_surface": mapped, "bar": faces, "bar3d": face,
    "add_collection3d": each_face,
}  # fmt: skip


def read_chartmimic(
    painted: Any, state: dict[str, bool], namespace: dict[str, Any], ran: bool
) -> tuple[dict[str, Any], list[Any]]:
    """Save as the benchmark's last line does; the final colours and the layout; then the texts, saved without ticks."""
    from matplotlib import pyplot

    state["texts"] = False
    try:
        if ran:
            exec(f"plt.savefig({PDF!r})", namespace)
        else:
            pyplot.savefig(PDF)
        saved = os.path.exists(PDF)
    except BaseException:
        saved = False
    last = {(where, first): part for where, first, part in painted()}
    shown, unreadable = [], False
    for (where, first), part in last.items():
        try:
            shown.append((where, colours(part)))
        except Exception:  # an artist of the program's own kind, or a bar that the original cannot read
            shown.append((where, [first]))
            unreadable |= part[1] == "bar"
    if unreadable:  # the original ends here without a colour
        shown = [(where, []) for where, _ in shown]
    layout, every = [], pyplot.gcf().axes
    for axes in every:
        place = axes.get_subplotspec()
        if place is not None:
            rows, columns = place.get_gridspec().get_geometry()
            span = place.rowspan.start, place.rowspan.stop - 1, place.colspan.start, place.colspan.stop - 1
            layout.append([int(number) for number in (rows, columns, *span)])
    state["texts"] = True
    try:
        for axes in pyplot.gcf().axes:
            axes.set_xticks([])
            axes.set_yticks([])
        pyplot.savefig(PDF)
        drawn = True
    except BaseException:  # the benchmark's text evaluator ends here, the others do not
        drawn = False
    return {"ran": ran and saved, "drawn": drawn, "layout": layout, "axes": len(every)}, shown


def read_plot2code(
    painted: Any, state: dict[str, bool], namespace: dict[str, Any], ran: bool, units: bool = True
) -> tuple[dict[str, Any], list[Any]]:
    """Visible texts with where each stands in its own coordinates, tick labels included, the figure's inches, and
    whether its picture shows anything. A text at no finite place stands alone; without `units`, as in the original, so
    does one at a date or a category."""
    from matplotlib import pyplot
    from matplotlib.text import Text

    figure, words, shown = pyplot.gcf(), [], shows(pyplot.gcf())
    ran &= shown is not None
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            place: Any = text.get_position()
            if units:
                place = text.convert_xunits(place[0]), text.convert_yunits(place[1])
            try:
                place = [float(side) for side in place if not isinstance(side, str)]
            except (TypeError, ValueError):
                place = []
            whole = len(place) == 2 and all(map(math.isfinite, place))
            words.append([text.get_text(), *(place if whole else ())])
    inches = [float(side) for side in figure.get_size_inches()]
    return {"ran": ran, "words": words, "inches": inches, "shown": shown is True}, []


def read_pass(
    painted: Any, state: dict[str, bool], namespace: dict[str, Any], ran: bool
) -> tuple[dict[str, Any], list[Any]]:
    """Whether Plot2Code counts a program as passing: it ran, and the current figure, if need be a new one, is saved and
    not all white."""
    from matplotlib import pyplot

    shown = shows(pyplot.gcf()) is True
    return {"ran": ran and shown, "words": [], "inches": [0.0, 0.0], "shown": shown}, []


def shows(figure: Any) -> bool | None:
    """Whether a figure's saved picture is not all white; None where it cannot be saved."""
    import io

    try:
        file = io.BytesIO()
        figure.savefig(file, format="rgba")
        return bool(file.getbuffer().nbytes and file.getvalue().strip(b"\xff"))
    except Exception:
        return None


READERS: dict[str, Callable[..., tuple[dict[str, Any], list[Any]]]] = {
    "chartmimic": read_chartmimic, "official": read_chartmimic, "official_type": read_chartmimic,
    "official_color": read_chartmimic, "plot2code": read_plot2code,
    "official_plot2code": functools.partial(read_plot2code, units=False),
    "pass_plot2code": read_pass,
}  # fmt: skip
