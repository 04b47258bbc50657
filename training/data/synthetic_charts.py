"""Charts from a generator: pictures for learning from images alone, and programs for the supervised start.

Guarantees: a chart depends on (seed, split, index) and nothing else; no program of `heldout` is a program of `train`;
`unseen` draws kinds and styles that neither the supervised start nor training ever meets. What a chart shows is written
beside it for evaluation; the reward never sees it.
"""

import ast
import asyncio
import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from actors.contracts import RenderResult
from actors.files import beside, publish
from configs.schema import Render, Sandbox

Split = Literal["train", "heldout", "unseen"]
KINDS = ("bar", "barh", "plot", "scatter", "pie")
NEW_KINDS = ("step", "fill_between", "stem")
COLOURS = ("red", "blue", "green", "orange", "purple", "brown", "pink", "gray")
TITLES = (
    "Sales", "Costs", "Growth", "Profit", "Users", "Orders", "Visits", "Energy",
    "Prices", "Errors", "Income", "Output", "Speed", "Budget", "Rain", "Votes",
)  # fmt: skip
HEAD = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2.1,1.75),dpi=80)\n"
FRESH = (
    "plt.grid(True)\n",
    "plt.gca().set_facecolor('lightyellow')\n",
    "plt.gca().spines['top'].set_visible(False)\n",
    "plt.xlabel('Week')\n",
    "plt.ylim(0,12)\n",
)


@dataclass(frozen=True)
class Drawn:
    """One chart: its program and what it shows."""

    program: str
    kind: str
    title: str
    colours: tuple[str, ...]
    values: tuple[int, ...]


@dataclass(frozen=True)
class Attributes:
    """What a program says it draws, read from its text."""

    kind: str
    title: str | None
    colours: tuple[str, ...]
    count: int


def draw(index: int, seed: int, split: Split) -> Drawn:
    """Chart `index` of a split."""
    rng = random.Random(f"{seed}/{split}/{index}")
    while True:
        chart = _draw(rng, split)
        if split == "unseen" or _is_held_out(chart.program) == (split == "heldout"):
            return chart


def _is_held_out(program: str) -> bool:
    """One program in sixteen belongs to `heldout`, by content, so the splits cannot meet."""
    return random.Random(program).random() < 1 / 16


def _draw(rng: random.Random, split: Split) -> Drawn:
    kinds = KINDS + NEW_KINDS if split == "unseen" else KINDS
    kind = rng.choice(kinds)
    count = rng.randint(2, 5)
    values = tuple(rng.randint(1, 9) for _ in range(count))
    title = rng.choice(TITLES)
    numbers = "[" + ",".join(map(str, values)) + "]"
    places = "[" + ",".join(str(i + 1) for i in range(count)) + "]"
    if kind == "pie":
        colours = tuple(rng.sample(COLOURS, count))
        call = f"plt.pie({numbers},colors=[{','.join(repr(c) for c in colours)}])"
    else:
        colours = (rng.choice(COLOURS),)
        style = _style(kind, rng) if split == "unseen" else ""
        call = f"plt.{kind}({places},{numbers},{'linefmt' if kind == 'stem' else 'color'}='{colours[0]}'{style})"
    extra = rng.choice(FRESH) if split == "unseen" and kind != "pie" else ""
    return Drawn(f"{HEAD}{call}\n{extra}plt.title('{title}')\n", kind, title, colours, values)


def _style(kind: str, rng: random.Random) -> str:
    options = {
        "bar": (",width=0.4", ",edgecolor='black'", ",hatch='//'"),
        "barh": (",height=0.4", ",edgecolor='black'", ",hatch='//'"),
        "plot": (",linestyle='--'", ",marker='o'", ",linewidth=4"),
        "scatter": (",marker='^'", ",s=90", ",marker='s'"),
        "step": ("", ",linewidth=3"),
        "fill_between": ("", ",alpha=0.5"),
    }
    return rng.choice(options.get(kind, ("",)))


def attributes(program: str) -> Attributes | None:
    """Kind, title, colours and number of values of a program; None where no known plotting call is found."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kind, title, colours, count = None, None, [], 0
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        if name in KINDS + NEW_KINDS and kind is None:
            kind = name
            lists = [a for a in node.args if isinstance(a, ast.List)]
            count = len(lists[-1].elts) if lists else 0
            for keyword in node.keywords:
                if keyword.arg in ("color", "colors", "linefmt"):
                    colours = [n.value for n in ast.walk(keyword.value) if isinstance(n, ast.Constant)]
        elif name == "title" and node.args and isinstance(node.args[0], ast.Constant):
            title = str(node.args[0].value)
    return None if kind is None else Attributes(kind, title, tuple(map(str, colours)), count)


def write_images(root: Path, split: Split, count: int, seed: int) -> Path:
    """PNGs and manifest.jsonl of one split in a folder under `root`; made once, by the production renderer."""
    folder = root / f"drawn-{split}-{count}-{seed}"
    if (folder / "manifest.jsonl").exists():
        return folder
    asyncio.run(_write(folder, split, count, seed))
    return folder


async def render_results(programs: list[str], workers: int = 2) -> list[RenderResult]:
    """What became of each program, in order; through the same renderer as rollouts. They are programs of ours: a layer
    that this machine lacks is not missed, nor is the same picture made otherwise without it."""
    from serving.render.charts import ChartRenderer
    from serving.render.sandbox import LAYERS

    ours = Render(sandbox=Sandbox(allow_missing=list(LAYERS)))
    renderers = [ChartRenderer(ours) for _ in range(workers)]
    try:
        return list(await asyncio.gather(*(renderers[i % workers].render(p) for i, p in enumerate(programs))))
    finally:
        for renderer in renderers:
            await renderer.close()


async def _write(folder: Path, split: Split, count: int, seed: int) -> None:
    fresh = beside(folder)
    charts = [draw(i, seed, split) for i in range(count)]
    pictures = [result.png for result in await render_results([chart.program for chart in charts])]
    with (fresh / "manifest.jsonl").open("w") as manifest:
        for number, (chart, png) in enumerate(zip(charts, pictures, strict=True)):
            if png is None:
                raise RuntimeError(f"chart {number} of {split} does not render")
            (fresh / f"{number:05d}.png").write_bytes(png)
            facts = asdict(chart)
            del facts["program"]
            manifest.write(json.dumps({"file": f"{number:05d}.png", **facts}) + "\n")
    publish(fresh, folder)
