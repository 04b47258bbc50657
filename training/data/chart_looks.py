"""Looks: how the picture of a chart may differ from what its plain program draws.

Guarantees: a look changes the picture alone, never what the chart shows nor the program that is taught; each part of a
look is varied alone, so that no part foretells another. A look depends on the chart, its number and the seed.
"""

import random
from typing import Literal

from training.data.synthetic_charts import Chart

Look = Literal["plain", "mild", "cosmetic", "framed"]  # each varies what those before it vary, and more
FONTS = ("DejaVu Sans", "DejaVu Serif", "DejaVu Sans Mono", "STIXGeneral")  # all come with Matplotlib
PAPER = ("white", "white", "whitesmoke", "ivory", "lightyellow", "aliceblue", "lavender", "#eaeaf2", "honeydew")


def drawing(found: Chart, look: Look, index: int, seed: int) -> str:
    """The program that draws the picture: the chart's own, or with the look's additions."""
    if look == "plain":
        return found.program
    return _cosmetic(found, random.Random(f"{seed}/look/{found}/{index}"), look)


def _cosmetic(found: Chart, rng: random.Random, look: Look) -> str:
    lines = ["import matplotlib.pyplot as plt"]
    if rng.random() < 0.5:
        lines.append(f"plt.rcParams['font.family']={rng.choice(FONTS)!r}")
    lines.append("plt.figure(figsize=(3,2))")
    places, kind = list(range(1, len(found.values) + 1)), found.kind
    style: dict[str, object] = {"color": found.colour}
    if kind in ("bar", "barh"):
        style["height" if kind == "barh" else "width"] = round(rng.uniform(0.45, 0.95), 2)
        if rng.random() < 0.3:
            style |= {"edgecolor": rng.choice(("black", "white", "dimgray")), "linewidth": rng.choice((0.5, 1, 1.5))}
    elif kind == "scatter":
        style |= {"s": rng.randint(15, 110), "marker": rng.choice("ooosD^")}
    elif kind == "fill_between":
        style["alpha"] = rng.choice((1, 1, 0.85))
    else:
        style["linewidth"] = round(rng.uniform(1, 4), 1)
        if kind == "plot" and rng.random() < 0.3:
            style |= {"marker": rng.choice("os"), "markersize": rng.randint(3, 8)}
    if rng.random() < 0.7:
        style["zorder"] = 3
    arguments = ",".join(f"{k}={v!r}" for k, v in style.items())
    lines.append(f"plt.{kind}({places},{list(found.values)},{arguments})")
    size = rng.randint(10, 14)
    weight = ",fontweight='bold'" if rng.random() < 0.3 else ""
    place = f",loc={rng.choice(('left', 'right'))!r}" if rng.random() < 0.15 else ""
    lines.append(f"plt.title({found.title!r},fontsize={size}{weight}{place})")
    lines += _axes(found, rng, ranged=look != "mild")
    if look == "framed":
        left, bottom = rng.uniform(0.09, 0.18), rng.uniform(0.09, 0.18)
        right, top = rng.uniform(0.86, 0.97), rng.uniform(0.82, 0.9)
        lines.append(f"plt.subplots_adjust(left={left:.3f},bottom={bottom:.3f},right={right:.3f},top={top:.3f})")
    return "\n".join(lines) + "\n"


def _axes(found: Chart, rng: random.Random, ranged: bool) -> list[str]:
    """Grid, spines, ticks, paper and the range of the values' axis."""
    lines = []
    if rng.random() < 0.5:
        axis, dash = rng.choice(("both", "both", "x", "y")), rng.choice(("-", "-", "--", ":"))
        shade, width = rng.choice(("#dddddd", "lightgray", "silver", "#eeeeee")), rng.choice((0.5, 0.8, 1))
        lines.append(f"plt.grid(True,axis={axis!r},linestyle={dash!r},color={shade!r},linewidth={width})")
        lines.append("plt.gca().set_axisbelow(True)")
    spines = rng.random()
    if spines < 0.5:
        hidden = ["top", "right"] if spines < 0.35 else ["top", "right", "left", "bottom"]
        lines.append(f"for s in {hidden}: plt.gca().spines[s].set_visible(False)")
    elif spines < 0.65:
        lines.append(f"for s in plt.gca().spines.values(): s.set_color({rng.choice(('gray', 'silver', '#888888'))!r})")
    elif spines < 0.75:
        lines.append(f"for s in plt.gca().spines.values(): s.set_linewidth({rng.choice((0.5, 1.5, 2))})")
    if rng.random() < 0.6:
        size, length = rng.choice((7, 8, 9, 10, 11)), rng.choice((0, 2, 3.5, 5))
        shade = rng.choice(("black", "black", "gray", "dimgray"))
        lines.append(f"plt.tick_params(labelsize={size},length={length},color={shade!r},labelcolor={shade!r})")
    if rng.random() < 0.4:
        lines.append(f"plt.gca().set_facecolor({rng.choice(PAPER)!r})")
    if rng.random() < 0.25:
        lines.append(f"plt.gcf().set_facecolor({rng.choice(PAPER)!r})")
    if ranged and rng.random() < 0.5:
        top = max(found.values) + rng.choice((0, 0.2, 0.5, 1, 1.5, 2))
        bottom = 0 if found.kind in ("bar", "barh") or rng.random() < 0.7 else min(found.values) - 1
        lines.append(f"plt.{'xlim' if found.kind == 'barh' else 'ylim'}({bottom},{top})")
    if rng.random() < 0.3:
        places = list(range(1, len(found.values) + 1))
        lines.append(f"plt.{'yticks' if found.kind == 'barh' else 'xticks'}({places})")
    return lines
