"""Looks: how the picture of a page may differ from what its plain HTML draws.

Guarantees: a look changes the picture alone, never what the page shows nor the HTML that is taught; rows stay where
they are. A look depends on its seed alone.
"""

import random

from training.data.synthetic_pages import STYLE, Page

FONTS = ("sans-serif", "sans-serif", "serif", "monospace", "STIXGeneral")
PAPER = ("white", "white", "whitesmoke", "ivory", "aliceblue", "lavender", "honeydew", "seashell")
BARS = ("lightgray", "gainsboro", "whitesmoke", "silver", "lightblue", "khaki", "white")
INKS = ("black", "black", "#222", "#444", "midnightblue", "#555")


def style(seed: str | None) -> str:
    """A style sheet: the plain one, or with the additions of a look."""
    return STYLE if seed is None else STYLE + _additions(random.Random(f"look/{seed}"))


def drawing(page: Page, seed: str | None) -> str:
    """The HTML that draws the picture: the page's own, or with a look."""
    return page.program.replace(STYLE, style(seed))


def _additions(rng: random.Random) -> str:
    inner = rng.choice((4, 5, 6, 8, 10))
    lines = [
        f"body{{background:{rng.choice(PAPER)};color:{rng.choice(INKS)};"
        f"font-family:{rng.choice(FONTS)};font-size:{rng.choice((14, 15, 16, 16, 17))}px}}",
        f"body>*{{padding-left:{inner}px;padding-right:{rng.choice((4, 6, 9, 12))}px;"
        f"gap:{rng.choice((5, 7, 9, 12))}px}}",
        f"ul{{padding-left:{rng.choice((26, 30, 34))}px}}",
        f"nav{{background:{rng.choice(BARS)}}}",
        f"header{{font-weight:{rng.choice(('bold', 'bold', 'normal'))};font-size:{rng.choice((16, 17, 18, 20))}px}}",
        f"h1{{font-size:{rng.choice((24, 26, 28, 32, 32))}px;font-weight:{rng.choice(('bold', 'bold', 'normal'))}}}",
    ]
    if rng.random() < 0.5:
        lines.append(f"button,.cards p,input{{border-radius:{rng.choice((3, 5, 8, 12))}px}}")
    if rng.random() < 0.3:
        lines.append("button,.cards p{box-shadow:0 2px 3px #0005}")
    if rng.random() < 0.3:
        lines.append(f"{rng.choice(('nav a', '.cards p', 'nav a,.cards p,.columns p'))}{{text-align:center}}")
    if rng.random() < 0.3:
        lines.append(f".columns p{{border:{rng.choice((1, 2))}px solid {rng.choice(('silver', 'gray', '#ccc'))}}}")
    if rng.random() < 0.3:
        lines.append(f"ul{{list-style:{rng.choice(('square', 'circle', 'none', 'decimal'))}}}")
    if rng.random() < 0.3:
        lines.append(f"nav a{{color:{rng.choice(('blue', 'navy', '#06c'))};text-decoration:underline}}")
    if rng.random() < 0.25:
        lines.append("header,footer{text-align:center;justify-content:center}")
    if rng.random() < 0.25:
        lines.append(f"button{{flex:none;padding:4px {rng.choice((8, 10, 12))}px}}")
    return "\n".join(lines) + "\n"
