"""Plot2Code's scores (arXiv 2405.07990 and its repository): pass rate, text match and rating.

Guarantees: programs run in the jail, once for their texts (the original runs them in its own process) and, where that
can make a difference, once more the original's way for its pass rate, within a function; the text match counts a
reference's text only where the same text stands near its place, and is a Jaccard ratio; averages over passing samples
are the `_pass` columns, the headline ones are those times the pass rate, as published. `official`: texts at dates and
categories match nothing.
"""

import ast
import asyncio
import builtins
import io
import math
import re
import symtable
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from PIL import Image

from configs.schema import Render
from serving.render.chart_tracer import ChartTracer, Trace

NEAR = 0.8  # of exp(-distance / 100)
RATING = re.compile(r"Rating:\s*\[\[(\d+(?:\.\d+)?)\]\]")
SCOPES = frozenset({"globals", "locals", "vars", "dir", "exec", "eval"})
# the names that the original's modules happen to offer to a program
NAMES = """import json, os, multiprocessing, matplotlib
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from matplotlib.pyplot import *
"""
QUESTION = (
    "You are shown two charts: the first is the reference, the second a program's attempt to redraw it. Judge how "
    "alike they are in overall appearance, colours, shapes, positions and all other visible elements. Explain briefly "
    "what agrees and what does not. Then give a whole number from 1 (nothing in common) to 10 (no visible difference) "
    "on a line of its own, exactly in this form: Rating: [[5]]"
)


def in_function(source: str) -> str:
    """A program as the original runs it for its pass rate: its functions do not see its names."""
    return f"{NAMES}def execute_code(code):\n    exec(code)\nexecute_code({source!r})\n"


def at_top(source: str) -> str:
    """A program as the original runs it for its texts."""
    return f"{NAMES}exec({source!r})\n"


def flat(source: str) -> bool:
    """Whether a program that runs by itself does the same within a function: nothing asks for its scope, and what has a
    scope of its own sees built-ins and imports alone that the original's modules offer as well."""
    try:
        nodes, scopes = list(ast.walk(ast.parse(source))), [symtable.symtable(source, "", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    if any(isinstance(node, ast.Global) or (isinstance(node, ast.Name) and node.id in SCOPES) for node in nodes):
        return False
    lent, bound = _imports(ast.parse(NAMES)), _imports(ast.parse(source))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    same = {name for name, origins in bound.items() if origins == lent.get(name) and name not in stored}
    own = {symbol.get_name() for symbol in scopes[0].get_symbols() if symbol.is_assigned()}
    while scopes:
        inner = scopes.pop().get_children()
        for name in (name for scope in inner for name in _outside(scope)):
            if name not in same and (name in own or not hasattr(builtins, name)):
                return False
        scopes += inner
    return True


def _outside(scope: symtable.SymbolTable) -> list[str]:
    """Names that a scope may look up among the program's own; a class does so for a name before it assigns it."""
    of_class = scope.get_type() == "class"
    symbols = scope.get_symbols()
    return [s.get_name() for s in symbols if s.is_global() or (of_class and s.is_referenced() and not s.is_free())]


def _imports(tree: ast.Module) -> dict[str, set[str]]:
    """What each imported name of a program may be."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            whole = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            origin = whole + (alias.name if alias.asname or whole else alias.name.partition(".")[0])
            found.setdefault(alias.asname or alias.name.partition(".")[0], set()).add(origin)
    return found


@dataclass(frozen=True)
class Scores:
    """`passed`: by the original's way of execution; `text`: 0..1, None where the reference does not run."""

    passed: bool
    text: float | None
    failure: str = ""


class Scorer:
    """Runs pairs of programs; the two of a pair at the same time, on processes that have nothing in common."""

    def __init__(self, render: Render, *, official: bool = False) -> None:
        """Raises sandbox.MissingLayer."""
        self._golden, self._generated = ChartTracer(render), ChartTracer(render)
        self._official = official

    async def score(self, golden: str, generated: str) -> Scores:
        """One pair of sources. Raises Outage."""

        async def candidate() -> tuple[bool, Trace]:
            texts = await self._texts(self._generated, generated)
            if texts.ran and flat(generated):
                return texts.shown, texts
            return (await self._generated.trace(in_function(generated), "pass_plot2code")).ran, texts

        reference, (passed, texts) = await asyncio.gather(self._texts(self._golden, golden), candidate())
        if not reference.ran:
            return Scores(passed, None, f"its reference does not run here ({reference.failure})")
        good = texts.ran and not texts.tampered
        return Scores(passed, text_match(reference, texts) if good else 0.0, texts.failure)

    async def _texts(self, tracer: ChartTracer, source: str) -> Trace:
        if self._official:
            return await tracer.trace(at_top(source), "official_plot2code")
        return await tracer.trace(source, "plot2code")

    async def close(self) -> None:
        await asyncio.gather(self._golden.close(), self._generated.close())


def passes(png: bytes | None) -> bool:
    """Whether there is a picture and it is not all white."""
    return png is not None and bool((np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) != 255).any())


def text_match(golden: Trace, generated: Trace) -> float:
    """Share of texts that both have at about the same place, in the coordinates that each was given."""
    ratio = [g / max(1e-9, s) for g, s in zip(golden.inches, generated.inches, strict=True)]
    left = [(word.strip().lower(), x * ratio[0], y * ratio[1]) for word, x, y in generated.words]
    matched = 0
    for text, x, y in golden.words:
        for i, (word, u, v) in enumerate(left):
            if word == text.strip().lower() and math.exp(-math.hypot(x - u, y - v) / 100) > NEAR:
                del left[i]
                matched += 1
                break
    everything = len(golden.words) + len(left)  # matched, missing and surplus
    return matched / everything if everything else 1.0


def parse_rating(text: str) -> float | None:
    """1..10 as a model gave it; None (left out of the mean) where it gave none."""
    found = RATING.search(text)
    return float(found[1]) if found and 1 <= float(found[1]) <= 10 else None


def headline(passing: Sequence[float], count: int, passed: int) -> tuple[float | None, float | None]:
    """(mean over the passing samples that have a value, the same times the pass rate); None without any."""
    if not passing or not count:
        return None, None
    mean = fmean(passing)
    return mean, mean * passed / count
