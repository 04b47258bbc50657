r"""A domain outside the project: formulas, drawn by Matplotlib's own parser of TeX. Use: data.domain=path/to/this.py

A domain gives a source (here `\frac{a}{b}`) to one of two safe places: a Matplotlib program in the jail, as here, or a
page in the browser (`drawn="browser"`, and `written` returns HTML).
"""

from random import Random

from configs.domains.domain import Domain, Look, Question, Texts

PROGRAM = r"""
from matplotlib import pyplot
figure = pyplot.figure(figsize=(3, 1), dpi=100)
figure.text(0.5, 0.5, "$" + SOURCE + "$", size=22, ha="center", va="center")
figure.savefig("formula.png", dpi=100)
"""


def written(source: str) -> str:
    """The program that draws a formula. A ValueError tells the writer why there is none."""
    formula = source.strip().strip("$").strip()
    if not formula or "\n" in formula:
        raise ValueError("a formula is one line and not empty")
    return f"SOURCE = {formula!r}\n{PROGRAM}"


def example(rng: Random) -> str:
    """One formula to learn from."""
    a, b, n = rng.choice("abcxyz"), rng.choice("abcxyz"), rng.randint(2, 9)
    return rng.choice((rf"\frac{{{a}}}{{{b}}}", rf"{a}^{n}+{b}", rf"\sqrt{{{a}+{n}}}", rf"\int {a}^{n} d{b}"))


DOMAIN = Domain(
    name="mathtext",
    about="Formulas, typed in TeX.",
    drawn="program",
    written=written,
    languages=frozenset(("tex", "latex", "math")),
    bare=lambda text: text.strip() if text.count("$") == 2 else None,
    request="Write this formula in TeX, on one line, in a ```tex block.",
    texts=Texts(direct_system="You write formulas in TeX, in <answer>...</answer>.", user="Which formula is this?"),
    question=Question(
        "You compare two formulas: the TARGET, then the RENDER. List the differences, then mark from 0 to 10:\n"
        "symbols: the same letters, digits and signs\nstructure: fractions, roots, indices and their places",
        {"symbols": 60, "structure": 40},
    ),
    look=Look(
        weights={"ink": 0.4, "edges": 0.4, "palette": 0.1, "text": 0.1},
        chance={"ink": 0.3, "edges": 0.3, "palette": 0.5, "text": 0.2},
        canvas=30_000,
        blank=1e-3,
    ),
    example=example,
)
