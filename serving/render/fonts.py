"""The fonts of pages: those that Matplotlib brings, so that a page looks the same on every machine.

Guarantees: a browser that is started with `config` sees these fonts and no other, whatever the machine has; every
family that a page names becomes DejaVu Sans, Serif or Sans Mono; characters that none of them has are named
(`missing`).
"""

import functools
import html
import unicodedata
from pathlib import Path

INSIDE = "/rrvf-fonts"  # where the browser's jail sees them
SERIF = "serif, Times, Times New Roman, Georgia, Garamond, Palatino, Cambria, Book Antiqua, Baskerville, Merriweather"
MONO = "monospace, Courier, Courier New, Consolas, Menlo, Monaco, Lucida Console, Source Code Pro, Fira Code"
SANS = (
    "sans-serif, Arial, Helvetica, Helvetica Neue, Liberation Sans, Verdana, Tahoma, Trebuchet MS, Segoe UI, Geneva, "
    "Lucida Grande, Calibri, Roboto, Open Sans, Lato, Montserrat, Poppins, Inter, Noto Sans, Ubuntu, Nunito, Raleway, "
    "Source Sans Pro, Impact"
)
LAST_RESORT = "LastResort"  # names the font that has a box for everything
PLAIN = 0x250  # every code point below has a glyph
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me", "Zs", "Zl", "Zp")  # categories that draw nothing of their own


@functools.cache
def folder() -> Path:
    """Matplotlib's TrueType files."""
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf")


def config(fonts: str, cache: str) -> str:
    """A fontconfig file for the fonts in one folder. `cache`: a folder that the browser may write to."""

    def alias(names: str, family: str) -> str:
        return "".join(
            f'<match><test name="family"><string>{name.strip()}</string></test>'
            f'<edit name="family" mode="assign" binding="strong"><string>{family}</string></edit></match>'
            for name in names.split(",")
        )

    return (
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>'
        f"<dir>{html.escape(fonts)}</dir><cachedir>{html.escape(cache)}</cachedir>"
        f"<selectfont><rejectfont><glob>*{LAST_RESORT}*</glob></rejectfont></selectfont>"
        f"{alias(SANS, 'DejaVu Sans')}{alias(SERIF, 'DejaVu Serif')}{alias(MONO, 'DejaVu Sans Mono')}"
        '<match><edit name="family" mode="append_last"><string>DejaVu Sans</string></edit></match>'
        "</fontconfig>"
    )


@functools.cache
def covered() -> frozenset[int]:
    """Code points that at least one of the fonts has."""
    from matplotlib.ft2font import FT2Font

    found: set[int] = set()
    for path in folder().glob("*.ttf"):
        if LAST_RESORT not in path.name:
            found.update(FT2Font(str(path)).get_charmap())
    return frozenset(found)


def missing(source: str) -> list[str]:
    """Characters of a page for which no font here has a glyph, in the order in which they come."""
    unusual = dict.fromkeys(c for c in html.unescape(source) if ord(c) >= PLAIN)
    return [c for c in unusual if ord(c) not in covered() and unicodedata.category(c) not in UNSEEN]
