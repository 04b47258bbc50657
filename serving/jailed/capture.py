"""The picture of a program: which of its figures, drawn at a resolution that fits.

Guarantees: the picture is the figure saved last; where nothing was saved, the one shown last; else the one that is
current at the first close or at the end, or the last that was drawn by hand. A figure with nothing on it never takes
the place of one with something. A figure whose dpi makes too many pixels is drawn at its own or at the usual dpi, and
`notes` say so. A program that reads files finds the pictures that it saved where it saved them.
"""

import contextlib
import io
import itertools
import re
import sys
from typing import Any

from serving.jailed.protocol import MAX_SIDE

USUAL_DPI = 100.0
ROOM = 16  # times `max_pixels`: a figure of more is not drawn at all, not even to be measured
READS = re.compile(r"\b(open|os|pathlib|Path|shutil|glob|imread|Image|cv2|base64|zipfile)\b")
MOST_FRAMES = 200  # of an animation whose first one is empty
SAVED, SHOWN, LEFT = 3, 2, 1  # ranks of what makes a picture


class TooLarge(Exception):
    """A figure has more pixels than the settings allow, at any resolution that is sensible for it."""


class Capture:
    """Routes everything that would leave a figure to `picture`: width, height, RGB rows."""

    def __init__(self, max_pixels: int, source: str = "") -> None:
        from matplotlib import pyplot

        self.picture: tuple[int, int, bytes] | None = None
        self.notes: dict[str, None] = {}
        self.missing: dict[int, None] = {}  # code points without a glyph
        self._most = max_pixels
        self._reads = bool(READS.search(source))
        self._place = (False, 0)  # of the picture: whether it has content, and its rank
        self._by_hand: Any = None  # the figure that the program drew last without saving it
        self._drawing = False
        self._pyplot = pyplot
        self._install()

    def _install(self) -> None:
        import matplotlib
        from matplotlib import _text_helpers, pyplot
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._save: Any = Figure.savefig
        self._canvas: Any = FigureCanvasAgg
        get_renderer, draw, close = FigureCanvasAgg.get_renderer, FigureCanvasAgg.draw, pyplot.close
        warn = _text_helpers.warn_on_missing_glyph
        self._write_png = FigureCanvasAgg.print_png
        capture = self

        def sized_renderer(canvas: Any) -> Any:
            capture._check(canvas.figure, ROOM * capture._most, sys.maxsize)
            return get_renderer(canvas)

        def drawn(canvas: Any, *args: Any, **options: Any) -> Any:
            if not capture._drawing:
                capture._by_hand = canvas.figure
            return draw(canvas, *args, **options)

        def print_png(canvas: Any, *args: Any, **options: Any) -> None:
            capture._check(canvas.figure, capture._most, MAX_SIDE)
            canvas.draw()
            capture._keep(canvas.buffer_rgba())

        def savefig(figure: Any, fname: Any = None, *args: Any, **options: Any) -> None:
            dpi = capture.take(figure, SAVED, **options)
            is_file = hasattr(fname, "write")
            if not is_file and not capture._reads:
                return
            if dpi is not None:
                options["dpi"] = dpi
            try:
                with capture._untouched():
                    capture._save(figure, fname, *args, **options)
            except OSError:  # a place that is not there: the picture is taken all the same
                if is_file:
                    raise

        def show(*args: Any, **options: Any) -> None:
            capture.current(SHOWN)

        def close_figures(*args: Any, **options: Any) -> None:
            if capture.picture is None:
                capture.current(LEFT)
            close(*args, **options)

        def missing_glyph(codepoint: int, *args: Any, **options: Any) -> Any:
            capture.missing[codepoint] = None
            return warn(codepoint, *args, **options)

        # pyplot.savefig draws everything a second time through draw_idle, for a window that does not exist
        for owner, name, replacement in (
            (FigureCanvasAgg, "get_renderer", sized_renderer),
            (FigureCanvasAgg, "draw", drawn),
            (FigureCanvasAgg, "print_png", print_png),
            (FigureCanvasAgg, "draw_idle", lambda *a, **k: None),
            (Figure, "savefig", savefig),
            (Figure, "show", lambda figure, *a, **k: capture.take(figure, SHOWN)),
            (pyplot, "show", show),
            (pyplot, "close", close_figures),
            (pyplot, "switch_backend", lambda *a, **k: None),
            (matplotlib, "use", lambda *a, **k: None),
            (_text_helpers, "warn_on_missing_glyph", missing_glyph),
        ):
            setattr(owner, name, replacement)

    def current(self, rank: int) -> None:
        """Take the current figure, or the newest open one with something on it."""
        from matplotlib._pylab_helpers import Gcf

        figures = [manager.canvas.figure for manager in Gcf.figs.values()][::-1]  # the current one first
        if figures:
            self.take(next((figure for figure in figures if has_content(figure)), figures[0]), rank)

    def end(self) -> None:
        """What the program leaves, where it neither saved nor showed anything that has content."""
        if not self._place[0]:
            self.current(LEFT)
            if not self._place[0] and self._by_hand is not None:
                self.take(self._by_hand, LEFT)
        if self.missing:
            shown = ", ".join(f"{chr(c)} (U+{c:04X})" for c in list(self.missing)[:8])
            more = " and more" if len(self.missing) > 8 else ""
            self.notes[f"no font here has {shown}{more}: boxes stand in their place"] = None

    def take(self, figure: Any, rank: int, **options: Any) -> float | None:
        """Draw a figure as the picture where it takes the place of the one before. Returns the dpi used, else None."""
        place = (has_content(figure), rank)
        if place < self._place:
            return None
        for name in ("format", "backend", "pil_kwargs", "metadata", "papertype", "quality", "optimize"):
            options.pop(name, None)
        asked = options.pop("dpi", None)
        if asked is None:
            asked = self._pyplot.rcParams["savefig.dpi"]
        own = figure.dpi
        asked = own if asked == "figure" else asked
        first: TooLarge | None = None
        for dpi in dict.fromkeys((asked, own, USUAL_DPI)):
            if first is not None and dpi >= asked:
                continue
            try:
                self._draw(figure, dpi, options)
            except TooLarge as error:
                first = first or error
                continue
            if first is not None:
                self.notes[f"drawn at {dpi:g} dpi instead of {asked:g}, which makes {first.args[1]}"] = None
            self._place = place
            return float(dpi)
        assert first is not None
        raise first

    def _draw(self, figure: Any, dpi: Any, options: dict[str, Any]) -> None:
        self._drawing = True
        try:
            _start_animations(figure)
            self._save(figure, io.BytesIO(), format="png", dpi=dpi, **options)
        finally:
            self._drawing = False

    def _check(self, figure: Any, most: int, side: int) -> None:
        width, height = figure.bbox.size
        if width * height > most or max(width, height) > side:
            size = f"{width:.0f} x {height:.0f} pixels"
            limit = f"at most {self._most}, and {MAX_SIDE} in one direction, are allowed"
            raise TooLarge(f"the figure has {size}; {limit}", size)

    def _keep(self, rgba: Any) -> None:
        import numpy

        pixels = numpy.asarray(rgba)
        height, width = pixels.shape[:2]
        alpha = pixels[:, :, 3:]
        colours = pixels[:, :, :3]
        if alpha.min() < 255:  # on white, as every viewer shows it
            colours = ((colours.astype("u2") * alpha + 255 * (255 - alpha.astype("u2")) + 127) // 255).astype("u1")
        self.picture = width, height, colours.tobytes()

    @contextlib.contextmanager
    def _untouched(self) -> Any:
        ours, self._canvas.print_png = self._canvas.print_png, self._write_png
        self._drawing = True
        try:
            yield
        finally:
            self._canvas.print_png = ours
            self._drawing = False


def has_content(figure: Any) -> bool:
    """Whether anything was put on a figure: data, a text, a picture; bare axes are nothing."""
    if any(getattr(figure, part, None) for part in ("texts", "images", "lines", "patches", "artists", "legends")):
        return True
    if any(has_content(inner) for inner in getattr(figure, "subfigs", ())):
        return True
    return any(
        axes.has_data() or axes.texts or axes.tables or axes.artists or axes.get_title() or axes.get_xlabel()
        for axes in figure.axes
    )


def _start_animations(figure: Any) -> None:
    """Have each animation of a figure draw its first frame, as a window would; its last one where the first is empty,
    as where a line grows. Without, only empty axes are there."""
    animation = sys.modules.get("matplotlib.animation")
    if animation is None:
        return
    for reference in list(figure.canvas.callbacks.callbacks.get("draw_event", {}).values()):
        running = getattr(reference(), "__self__", None)
        if isinstance(running, animation.Animation):
            figure.canvas.draw()
            running._step()
            if not any(_shows_data(axes) for axes in figure.axes):
                for frame in itertools.islice(running.frame_seq, MOST_FRAMES):
                    running._draw_next_frame(frame, False)


def _shows_data(axes: Any) -> bool:
    """Whether there is more on axes than lines and marks without points."""
    points = [len(line.get_xdata(orig=False)) for line in axes.lines]
    points += [min(len(c.get_offsets()), len(c.get_paths())) for c in axes.collections]
    return any(points) or bool(axes.patches or axes.images or axes.texts or axes.tables)
