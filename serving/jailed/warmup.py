"""What every chart program starts from: an interpreter with Matplotlib imported, pinned, drawn with and seeded.

Guarantees: two servers with the same modules start their programs from the same state; the fonts are Matplotlib's own.
Those of the first drawings stay open across a fork and are read from memory, so that no program shares a file, and with
it a file's position, with another.
"""

import contextlib
import functools
import gc
import importlib
import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any

LIGHT = tuple(
    """
    matplotlib.animation matplotlib.dates matplotlib.patches matplotlib.gridspec matplotlib.sankey matplotlib.tri
    matplotlib.widgets mpl_toolkits.mplot3d PIL.Image resvg_py xml.etree.ElementTree
    """.split()  # noqa: SIM905
)
HEAVY = tuple(
    """
    pandas seaborn scipy.stats scipy.interpolate scipy.ndimage scipy.signal mpl_toolkits.axes_grid1
    mpl_toolkits.axisartist
    """.split()  # noqa: SIM905
)
# a few figures fill the caches of fonts, glyphs, paths and projections, and let the interpreter specialise its code
WARM_UP = """
import io
from matplotlib import pyplot
for size, dpi in (((2.1, 1.75), 80), ((6.4, 4.8), 100)):
    figure, axes = pyplot.subplots(figsize=size, dpi=dpi)
    axes.bar([1, 2], [3, 4], color="red", label="a")
    axes.plot([1, 2], [3, 4], "o-", label="abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,-()%")
    axes.scatter([1, 2], [3, 4]), axes.hist([1, 2, 2]), axes.grid(True), axes.tick_params(axis="x", rotation=45)
    axes.set_title("warm"), axes.set_xlabel("x"), axes.set_ylabel("y"), axes.legend()
    figure.savefig(io.BytesIO(), format="png")
figure, axes = pyplot.subplots(1, 2)
axes[0].pie([1, 2], labels=["a", "b"], autopct="%d"), figure.colorbar(axes[1].imshow([[1, 2], [3, 4]]))
figure.savefig(io.BytesIO(), format="png"), pyplot.close("all")
"""
# what fewer programs use and takes long the first time: formulas and their parser, other scales, projections and fonts
WARM_UP_RARER = r"""
import io, numpy
from matplotlib import pyplot
for style in ({"weight": "bold"}, {"style": "italic"}, {"family": "serif"}, {"family": "monospace"}):
    pyplot.figtext(0.1, 0.1, "abc 0123", **style)
axes = pyplot.subplot(221, yscale="log")
axes.errorbar([1, 2], [3, 4], yerr=0.1, capsize=3), axes.fill_between([1, 2], [1, 2], [3, 4], alpha=0.5)
axes.boxplot([[1, 2, 3], [2, 3, 4]], patch_artist=True), axes.violinplot([[1, 2, 3], [2, 3, 4]])
axes.set_title(r"$\alpha_i = \frac{x^2}{\sqrt{\pi}} \times 10^{-3}$ $\mathbf{b}\mathit{c}\mathrm{d}$")
axes.annotate("abc", (1, 3), (2, 4), arrowprops={"arrowstyle": "->"}, bbox={"boxstyle": "round", "fc": "w"})
axes = pyplot.subplot(222, projection="polar")
axes.plot([0, 1, 2], [1, 2, 1]), axes.fill([0, 1, 2], [1, 2, 1], alpha=0.5)
axes = pyplot.subplot(223, projection="3d")
axes.plot_surface(*[numpy.eye(3)] * 3, cmap="viridis"), axes.scatter([0, 1], [0, 1], [0, 1]), axes.set_zlabel("z")
axes = pyplot.subplot(224)
axes.contourf([[1, 2], [3, 4]]), axes.clabel(axes.contour([[1, 2], [3, 4]])), axes.twinx()
axes.stackplot([1, 2], [1, 2]), axes.quiver([1], [1], [1], [1]), axes.barh(["a", "b"], [1, 2], hatch="/")
axes.table(cellText=[["a", "b"]])
pyplot.tight_layout(), pyplot.savefig(io.BytesIO(), format="png"), pyplot.close("all")
"""
WARM_UP_HEAVY = """
import io, pandas, seaborn
from matplotlib import pyplot
seaborn.barplot(pandas.DataFrame({"x": ["a", "b", "b"], "y": [1.0, 3.0, 2.0]}), x="x", y="y")
pyplot.savefig(io.BytesIO(), format="png"), pyplot.close("all")
"""


class FontFile(io.BytesIO):
    """A font file's bytes; `name` is its path, by which Matplotlib knows the font."""

    name = ""


@contextlib.contextmanager
def fonts_in_memory() -> Iterator[None]:
    """Inside, fonts are read whole when Matplotlib opens them."""
    from_disk: Any = io.open

    def opened(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode != "rb" or not str(path).endswith(".ttf"):
            return from_disk(path, mode, *args, **options)
        with from_disk(path, mode) as file:
            font = FontFile(file.read())
        font.name = str(path)
        return font

    io.open = opened  # type: ignore[assignment]
    try:
        yield
    finally:
        io.open = from_disk


def warm(modules: Iterable[str]) -> None:
    """Import, pin the settings, draw once and seed: what every child starts from. Modules may be absent."""
    import logging

    import matplotlib
    import numpy
    from matplotlib import font_manager

    logging.disable(logging.CRITICAL)  # nobody reads a child's log, and fonts that are not there fill it
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    matplotlib.rcdefaults()
    pinned: dict[Any, Any] = {
        "backend": "agg",
        "figure.max_open_warning": 0,
        "savefig.dpi": "figure",
        "text.usetex": False,
    }
    matplotlib.rcParams.update(pinned)
    fonts = font_manager.fontManager
    fonts.ttflist = sorted((f for f in fonts.ttflist if "mpl-data" in f.fname), key=lambda f: (f.name, f.fname))
    # Matplotlib's own cache empties itself in every fork, and each program would open and measure the fonts again
    plain: Any = font_manager._get_font  # type: ignore[attr-defined]
    font_manager._get_font = functools.lru_cache(64)(plain.__wrapped__)  # type: ignore[attr-defined]
    with fonts_in_memory():
        exec(WARM_UP_RARER, {})
        exec(WARM_UP, {})
        if "seaborn" in sys.modules:
            exec(WARM_UP_HEAVY, {})
    fresh_generator = numpy.random.default_rng
    numpy.random.default_rng = lambda seed=None: fresh_generator(0 if seed is None else seed)  # type: ignore[assignment]
    numpy.random.seed(0)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)  # a collection writes to every page that it visits, and each is then copied
