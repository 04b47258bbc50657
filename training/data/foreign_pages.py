"""Pictures of pages for which no HTML exists: drawn as SVG by resvg, with rounded corners, shades, shadows, other type.

Guarantees: a picture depends on (seed, set, index) alone; facts of the held-out sets are held out of training too (see
`is_held_out`); no page of `gallery` has the form of one that the base policy learned from. Rows lie where the plain
page's rows lie, for the base policy reads no other frame.
"""

import io
import random
from pathlib import Path

from PIL import Image, ImageColor

from training.data import shipped
from training.data.synthetic_charts import Split
from training.data.synthetic_pages import ROWS, WINDOW, Block, Page, gallery, page

SEED = 16
SHIPPED = Path(__file__).with_name("foreign_pages.zip")
SETS: dict[str, tuple[int, Split]] = {
    "train": (300, "train"),
    "validation": (60, "train"),
    "heldout": (100, "heldout"),
    "gallery": (60, "heldout"),
}
FONTS = ("DejaVu Sans", "DejaVu Sans", "DejaVu Serif", "STIXGeneral", "cmss10")  # Matplotlib's files
FILES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralBol", "cmss10")
PAPER = ("#ffffff", "#ffffff", "#fbfaf5", "#f4f7fa", "#fdf6ee")
INKS = ("#1c2026", "#333333", "#20304a")
BARS = ("#e4e7eb", "#d9dde3", "#eeeeee", "#dfe8ef")
ROW = WINDOW[1] // ROWS


def facts(name: str, index: int) -> Page:
    """What picture `index` of a set shows; the sets share no page, as their numbers lie apart."""
    place = (1 + list(SETS).index(name)) * 100_000 + index
    return gallery(place, SEED) if name == "gallery" else page(5, place, SEED, SETS[name][1])


def picture(name: str, index: int) -> bytes:
    """PNG of picture `index` of a set."""
    return shipped.small(drawn(facts(name, index), random.Random(f"{SEED}/{name}/{index}")))


def drawn(found: Page, rng: random.Random) -> Image.Image:
    """By resvg, at the size of the window."""
    import matplotlib
    import resvg_py

    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    png = resvg_py.svg_to_bytes(
        svg_string=_Pen(rng).page(found), skip_system_fonts=True, font_files=[str(fonts / f"{n}.ttf") for n in FILES]
    )
    return Image.open(io.BytesIO(bytes(png))).convert("RGB")


class _Pen:
    """One picture's manner, and the shapes drawn so far."""

    def __init__(self, rng: random.Random) -> None:
        self.font, self.size = rng.choice(FONTS), rng.choice((15, 16, 16, 17))
        self.paper, self.bar, self.ink = rng.choice(PAPER), rng.choice(BARS), rng.choice(INKS)
        self.corner, self.shadow = rng.choice((0, 3, 5, 9)), rng.random() < 0.5
        self.shade = rng.choice((0.0, 0.0, 0.18))  # how much lighter the upper edge of a coloured shape is
        self.middle = rng.random() < 0.4  # words stand in the middle of their shape
        self.bullet = rng.choice((0, 6, 2))  # how high it is; 0: a disc
        self.left = rng.choice((7, 9, 11))
        self.shapes: list[str] = []
        self.fills: dict[str, str] = {}

    def page(self, found: Page) -> str:
        top = 0
        for block in found.blocks:
            getattr(self, block.kind)(block, top, block.rows * ROW)
            top += block.rows * ROW
        width, height = WINDOW
        size = f'width="{width}" height="{height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}><defs>{"".join(self.fills.values())}</defs>'
            f'<rect {size} fill="{self.paper}"/>{"".join(self.shapes)}</svg>'
        )

    def fill(self, colour: str) -> str:
        """A colour, or a gradient that ends in it."""
        if not self.shade:
            return colour
        upper = bytes(round(c + (255 - c) * self.shade) for c in ImageColor.getrgb(colour)[:3]).hex()
        self.fills[colour] = (
            f'<linearGradient id="{colour}" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="#{upper}"/>'
            f'<stop offset="0.6" stop-color="{colour}"/></linearGradient>'
        )
        return f"url(#{colour})"

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, corner: float = 0, edge: str = ""
    ) -> None:
        line = f' stroke="{edge}"' if edge else ""
        place = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
        self.shapes.append(f'<rect {place} rx="{corner}" fill="{fill}"{line}/>')

    def text(
        self, x: float, y: float, word: str, ink: str, size: float = 0, bold: bool = False, middle: bool = False
    ) -> None:
        """`y`: the middle of the line."""
        size = size or self.size
        weight = ' font-weight="bold"' * bold
        anchor = ' text-anchor="middle"' * middle
        self.shapes.append(
            f'<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" font-family="{self.font}" font-size="{size}" fill="{ink}"'
            f"{weight}{anchor}>{word}</text>"
        )

    def columns_of(self, words: tuple[str, ...], gap: float = 9) -> list[tuple[float, float, str]]:
        """Left edge and width of each word's share of the row."""
        width = (WINDOW[0] - 2 * self.left - gap * (len(words) - 1)) / len(words)
        return [(self.left + i * (width + gap), width, word) for i, word in enumerate(words)]

    def header(self, block: Block, top: float, high: float) -> None:
        self.box(0, top, WINDOW[0], high, self.fill(block.colour))
        self.text(self.left, top + high / 2, block.words[0], "white", self.size + 1, bold=True)

    def footer(self, block: Block, top: float, high: float) -> None:
        self.box(0, top, WINDOW[0], high, self.fill(block.colour))
        self.text(self.left, top + high / 2, block.words[0], "white")

    def title(self, block: Block, top: float, high: float) -> None:
        self.text(self.left, top + high / 2, block.words[0], self.ink, 29, bold=True)

    def nav(self, block: Block, top: float, high: float) -> None:
        self.box(0, top, WINDOW[0], high, self.bar)
        for x, _, word in self.columns_of(block.words):
            self.text(x + 4, top + high / 2, word, self.ink)

    def cards(self, block: Block, top: float, high: float) -> None:
        for x, width, word in self.columns_of(block.words):
            if self.shadow:
                self.box(x + 1, top + 6, width, high - 8, "#00000030", self.corner)
            self.box(x, top + 4, width, high - 8, self.fill(block.colour), self.corner)
            self.text(x + (width / 2 if self.middle else 5), top + 18, word, "white", middle=self.middle)

    def columns(self, block: Block, top: float, high: float) -> None:
        for x, _, word in self.columns_of(block.words):
            self.box(x, top + 6, 2, high - 12, self.ink)
            self.text(x + 6, top + high / 2, word, self.ink)

    def list(self, block: Block, top: float, high: float) -> None:
        for i, word in enumerate(block.words):
            y = top + 4 + 21 * i + 10.5
            if not self.bullet:
                self.shapes.append(f'<circle cx="{self.left + 10}" cy="{y}" r="3" fill="{self.ink}"/>')
            else:
                self.box(
                    self.left + 7,
                    y - (3 if self.bullet == "square" else 1),
                    6,
                    6 if self.bullet == "square" else 2,
                    self.ink,
                )
            self.text(self.left + 22, y, word, self.ink)

    def buttons(self, block: Block, top: float, high: float) -> None:
        for x, width, word in self.columns_of(block.words):
            self.button(x, width, word, block.colour, top, high)

    def button(self, x: float, width: float, word: str, colour: str, top: float, high: float) -> None:
        if self.shadow:
            self.box(x, top + 9, width, high - 14, "#00000038", self.corner)
        self.box(x, top + 7, width, high - 14, self.fill(colour), self.corner)
        self.text(x + width / 2, top + high / 2, word, "white", middle=True)

    def form(self, block: Block, top: float, high: float) -> None:
        (x, width, field), (right, wide, word) = self.columns_of(block.words)
        self.box(x, top + 5, width, high - 10, "white", self.corner, "#8a9099")
        self.text(x + 6, top + high / 2, field, "#767676")
        self.button(right, wide, word, block.colour, top, high)


def write(path: Path) -> None:
    """All sets with their manifest in one zip."""
    shipped.write(path, {name: count for name, (count, _) in SETS.items()}, facts, picture)
