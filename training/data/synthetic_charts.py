"""Charts with labels, from a generator: what one shows, the plain program for it, and what a program says it draws.

Guarantees: a chart depends on (seed, split, index) and, where asked for, its kind and look, and on nothing else; no
program of `heldout` is a program of `train`. What a chart shows is written beside its picture for evaluation; the
reward never sees it.
"""

import ast
import random
from dataclasses import dataclass
from typing import Any, Literal

Split = Literal["train", "heldout"]
KINDS = ("bar", "barh", "plot", "scatter")  # what the base policy reads
CALLS = (*KINDS, "fill_between", "step")  # what is recognised in a program
COLOURS = (
    "red", "blue", "green", "orange", "purple", "brown", "pink", "gray", "teal", "tab:blue", "tab:orange", "tab:green",
)  # fmt: skip
TITLES = (
    "Sales", "Costs", "Growth", "Profit", "Users", "Orders", "Visits", "Energy", "Prices", "Errors", "Income", "Output",
    "Speed", "Budget", "Rain", "Votes", "Traffic", "Weight", "Height", "Age", "Score", "Points", "Demand", "Supply",
    "Exports", "Imports", "Revenue", "Debt", "Taxes", "Wages", "Jobs", "Crime", "Births", "Deaths", "Cases", "Tests",
    "Water", "Wind", "Solar", "Coal", "Gas", "Oil", "Steel", "Wheat", "Rice", "Coffee", "Tea", "Sugar", "Milk", "Fruit",
    "Cars", "Trains", "Planes", "Ships", "Books", "Games", "Music", "Films", "Schools", "Homes", "Parks", "Roads",
    "Stars", "Memory",
)  # fmt: skip
HEAD = "import matplotlib.pyplot as plt\nplt.figure(figsize=(3,2))\n"
SIZE = (300, 200)  # pixels, what figsize=(3,2) gives
ATTRIBUTES = ("kind", "colour", "title", "count", "value", "all values")  # what `hits` compares


@dataclass(frozen=True)
class Chart:
    """What a chart shows."""

    kind: str
    title: str
    colour: str
    values: tuple[int, ...]

    @property
    def program(self) -> str:
        """The plain program, as a person would write it."""
        places = ",".join(str(i + 1) for i in range(len(self.values)))
        numbers = ",".join(map(str, self.values))
        call = f"plt.{self.kind}([{places}],[{numbers}],color='{self.colour}')"
        return f"{HEAD}{call}\nplt.title('{self.title}')\n"

    @property
    def facts(self) -> dict[str, object]:
        """What a manifest says of it."""
        return {"kind": self.kind, "title": self.title, "colour": self.colour, "values": list(self.values)}

    @property
    def read_out(self) -> str:
        """What it shows, in one line."""
        return f"{self.kind} '{self.title}' '{self.colour}' {','.join(map(str, self.values))}"

    @property
    def answer(self) -> str:
        """The turn that answers its picture: a line that reads the chart out, then the program."""
        return f"<think>{self.read_out}</think><answer>\n{self.program}</answer>"


def draw(index: int, seed: int, split: Split) -> Chart:
    """Chart `index` of a split, of any kind."""
    return chart(KINDS[index % len(KINDS)], "", index, seed, split)


def chart(kind: str, look: str, index: int, seed: int, split: Split) -> Chart:
    """Chart `index` of a kind in a look; another look, another chart."""
    rng = random.Random(f"{seed}/{split}/{kind}/{look}/{index}")
    while True:
        count = rng.randint(2, 6)
        values = tuple(rng.randint(1, 9) for _ in range(count))
        found = Chart(kind, rng.choice(TITLES), rng.choice(COLOURS), values)
        if is_held_out(found) == (split == "heldout"):
            return found


def is_held_out(found: Chart) -> bool:
    """One program in sixteen belongs to `heldout`, by content, so the splits cannot meet."""
    return random.Random(found.program).random() < 1 / 16


def attributes(program: str) -> Chart | None:
    """What a program draws, read from its text: the first known plotting call and the title; None where it does not
    parse or draws nothing known. What is not a literal is not read."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    kind, title, colour, values = "", "", "", ()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, plain = node.func.attr, [_literal(a) for a in node.args]
        if name in CALLS and not kind:
            lists = [a for a in plain if isinstance(a, list | tuple)]
            kind, values = name, tuple(lists[-1]) if lists else ()
            named = {k.arg: _literal(k.value) for k in node.keywords}
            colour = str(named.get("color") or "")
        elif name == "title" and plain:
            title = str(plain[0])
    return Chart(kind, title, colour, values) if kind else None


def shown_by(facts: dict[str, Any]) -> Chart:
    """What a line of a manifest says."""
    return Chart(facts["kind"], facts["title"], facts["colour"], tuple(facts["values"]))


def hits(shown: Chart, read: Chart | None) -> dict[str, float]:
    """Each of ATTRIBUTES right (1) or wrong (0); `value` is the share of the values shown that stand at their place."""
    if read is None:
        return dict.fromkeys(ATTRIBUTES, 0.0)
    same = [a == b for a, b in zip(shown.values, read.values, strict=False)]
    right = {
        "kind": read.kind == shown.kind,
        "colour": read.colour == shown.colour,
        "title": read.title == shown.title,
        "count": len(read.values) == len(shown.values),
        "value": sum(same) / len(shown.values),
        "all values": read.values == shown.values,
    }
    return {name: float(value) for name, value in right.items()}


def _literal(node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
