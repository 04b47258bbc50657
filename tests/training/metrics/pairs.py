"""Sixty pairs: the charts that people drew, each against a version of itself with one thing edited afterwards."""

import inspect

from tests.data import real
from tests.serving.judge import edits

KINDS = ("colour", "kind", "title", "legend", "noise", "rough", "empty", "axes_only")
TOOLS = """
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import Collection, PathCollection
from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
KNOTS = 12
"""


def perturbed(source: str, kind: str) -> str:
    """A program that draws what `source` draws and then edits it."""
    helpers = (edits._swap, edits._drift, edits.title, edits.legend, edits.noise, edits.EDITS[kind])
    code = "\n".join(inspect.getsource(f) for f in dict.fromkeys(helpers))
    return f"{source.split('plt.show(')[0]}\n{TOOLS}\n{code}\n{kind}(plt.gcf())\n"


def pairs(every: int = 1) -> list[tuple[str, str, str]]:
    """(name, golden, generated); with `every` n only each n-th of the sixty."""
    charts = sorted(real("charts").glob("*.py"))
    assert len(charts) == 60
    found = []
    for number, path in enumerate(charts):
        kind = KINDS[number % len(KINDS)]
        found.append((f"{path.stem}+{kind}", path.read_text(), perturbed(path.read_text(), kind)))
    return found[::every]
