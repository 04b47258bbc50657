"""Plot2Code's scores, by hand; texts as programs draw them."""

import asyncio
import io
import math

import numpy as np
import pytest
from PIL import Image

from serving.render.chart_tracer import ChartTracer, Trace
from training.evaluation.answers import plot2code, program
from training.metrics.chartmimic import PATIENT
from training.metrics.plot2code import Scorer, flat, headline, in_function, parse_rating, passes, text_match


def trace(*words: tuple[str, float, float], inches: tuple[float, float] = (6.4, 4.8)) -> Trace:
    return Trace(True, words=words, inches=inches)


def test_text_match_is_a_jaccard_ratio_of_texts_near_their_place() -> None:
    golden = trace(("Title", 0.5, 1), ("x", 10, 0), ("y", 0, 3))
    assert text_match(golden, golden) == 1.0
    assert text_match(golden, trace((" title ", 0.5, 1), ("x", 40, 0))) == pytest.approx(1 / 4)  # x is 30 away
    assert text_match(golden, trace(("x", 30, 0), ("Title", 0.5, 1), ("Titel", 0.5, 1))) == pytest.approx(2 / 4)
    assert text_match(golden, trace(("x", 5, 0), inches=(3.2, 2.4))) == pytest.approx(1 / 3)  # half as large
    assert text_match(trace(), trace()) == 1.0
    assert text_match(trace(), golden) == 0.0


def test_texts_are_traced_with_tick_labels_and_where_they_stand() -> None:
    source = (
        "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3))\nplt.plot([0, 1])\nplt.title('Up')\n"
        "plt.text(float('nan'), 1, 'lost')\nplt.show()"
    )

    async def run() -> Trace:
        tracer = ChartTracer(PATIENT)
        try:
            return await tracer.trace(source, "plot2code")
        finally:
            await tracer.close()

    found = asyncio.run(run())
    assert found.ran and found.inches == (4.0, 3.0)
    assert ("Up", 0.5, 1.0) in found.words and ("0.8", 0.0, 0.8) in found.words
    assert [math.isnan(x) for word, x, _ in found.words if word == "lost"] == [True]
    count = len(found.words)  # what stands nowhere is near nothing, not even itself
    assert text_match(found, found) == pytest.approx((count - 1) / (count + 1))


def test_a_white_picture_does_not_pass() -> None:
    def png(value: int) -> bytes:
        out = io.BytesIO()
        pixels = np.full((4, 4, 3), 255, np.uint8)
        pixels[0, 0] = value
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    assert not passes(None) and not passes(png(255)) and passes(png(254))


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("import math\nfor i in range(3):\n    print(math.pi)", True),
        ("a = 1\ndef f():\n    return a", False),
        ("print([i for i in (1, 2)])", True),
        ("n = 2\nprint([i for i in (1, 2) if i < n])", False),
        ("n = 2\nprint([i for i in range(n)])", True),  # the outermost iterable is the program's own
        ("print(sorted((1, 2), key=lambda x: -x))", True),
        ("import numpy as np\ndef f(a):\n    return np.sqrt(a)\nf(4)", True),
        ("import numpy.random as np\ndef f(a):\n    return np.rand(a)\nf(4)", False),
        ("import numpy as np\nnp = None\ndef f():\n    return np\nf()", False),
        ("from math import pi\ndef f():\n    return pi\nf()", False),
        ("def f():\n    return title\n", False),  # lent by the original, unknown to the program
        ("def f(a):\n    def g():\n        return a + 1\n    return g()\nf(1)", True),
        ("def f(n):\n    return f(n - 1) if n else 0\nf(2)", False),
        ("class A:\n    b = 1\n    def c(self):\n        return self.b\nA().c()", True),
        ("x = 1\nclass A:\n    x = x", False),
        ("class A:\n    pass\ndef f():\n    return A()", False),
        ("globals()['x'] = 1", False),
        ("global x\nx = 1", False),
        ("no python", False),
        ("x = 1\0", False),
    ],
)
def test_a_program_whose_scopes_see_nothing_of_its_own_runs_once(source: str, same: bool) -> None:
    assert flat(source) is same


@pytest.mark.parametrize("source", [
    "print([i for i in (1, 2)])", "n = 2\nprint([i for i in range(n)])", "sorted((1, 2), key=lambda x: -x)",
    "import numpy as np\ndef f(a):\n    return np.sqrt(a)\nf(4)", "def f(a):\n    return (lambda: a)()\nf(1)",
    "class A:\n    b = 1\n    def c(self):\n        return self.b\nA().c()",
    "import matplotlib.pyplot as plt\ndef f():\n    plt.figure()\nf()\nplt.close()",
])  # fmt: skip
def test_what_is_said_to_be_the_same_within_a_function_is(source: str) -> None:
    assert flat(source)
    exec(in_function(source), {"__name__": "__main__"})


def test_published_headline_figures_come_out() -> None:
    # RRVF's table: 41.46 over the passing 127 of 132 is 39.89
    passing, times = headline([0.4146] * 127, 132, 127)
    assert passing == pytest.approx(0.4146) and times == pytest.approx(0.3989, abs=1e-4)
    assert headline([], 132, 0) == (None, None)


def test_ratings_and_programs_are_read_as_published() -> None:
    assert parse_rating("It is close.\nRating: [[8]]") == 8.0
    assert parse_rating("Rating: 8") is None and parse_rating("Rating: [[11]]") is None
    assert plot2code("```python\na\n```\nand\n```python\nb\n```") == "a\nb"
    assert plot2code("print(1)") == "print(1)"
    several = "```\npip install matplotlib\n```\n```python\na\n```\nand\n```python\nb\n```"
    assert program("plot2code", "chart", several) == "a\nb"  # all blocks, or the first
    assert program("chartmimic", "chart", several) == "a"


def test_the_original_refuses_what_people_write_and_we_do_not() -> None:
    for benchmark, domain, text in (
        ("chartmimic", "chart", "```py\nimport os\n```"),
        ("plot2code", "chart", "```py\nimport os\n```"),
        ("design2code", "web", "Sure:\n```html\n<p>x</p>\n```\nDone."),
    ):
        ours = program(benchmark, domain, text)  # type: ignore[arg-type]
        assert ours in ("import os", "<p>x</p>")
        assert program(benchmark, domain, text, official=True) != ours  # type: ignore[arg-type]
    page = "<!DOCTYPE html><html></html>"
    assert program("design2code", "web", f"```html\n{page}\n```", official=True) == page
    draft = "<think>```python\ndraft\n```</think>```python\nfinal\n```"
    assert program("chartmimic", "chart", draft) == "final"
    assert program("chartmimic", "chart", draft, official=True) == "\ndraft\n"


def test_a_pass_is_the_originals_or_ours() -> None:
    """Within a function a comprehension does not see the program's names, and what is current at the end counts."""
    golden = "import matplotlib.pyplot as plt\nplt.plot([0, 1])\nplt.title('Up')"
    sources = {
        "plain": golden,
        "comprehension": "n = 2\ndef f():\n    return n\n" + golden.replace("[0, 1]", "[0, f()]"),
        "lent names": "plot([0, np.pi])\ntitle('Up')",
        "closed": golden + "\nplt.close()",
        "white": "import matplotlib.pyplot as plt\nplt.figure()",
    }

    async def run() -> list[list[tuple[bool, float | None]]]:
        found = []
        for official in (False, True):
            scorer = Scorer(PATIENT, official=official)
            try:
                scores = [await scorer.score(golden, source) for source in sources.values()]
                found.append([(one.passed, one.text) for one in scores])
            finally:
                await scorer.close()
        return found

    ours, official = ([*zip(*each, strict=True)] for each in asyncio.run(run()))
    assert ours[0] == official[0] == (True, False, True, False, False)
    assert ours[1][:3] == (1.0, pytest.approx(ours[1][1]), 0.0)  # a program without its imports does not run
    assert official[1][0] == 1.0 and official[1][2] > 0.0


def test_texts_at_dates_match_here_and_not_in_the_original() -> None:
    dated = "import datetime\nimport matplotlib.pyplot as plt\nday = datetime.date(2024, 5, 1)\nplt.plot([day], [1])\n"
    dated += "plt.text(day, 1, 'here')"

    async def run() -> list[float | None]:
        found = []
        for official in (False, True):
            scorer = Scorer(PATIENT, official=official)
            try:
                found.append((await scorer.score(dated, dated)).text)
            finally:
                await scorer.close()
        return found

    ours, official = asyncio.run(run())
    assert ours == 1.0 and official is not None and 0 < official < 1
