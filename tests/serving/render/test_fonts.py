"""The same bytes whatever fonts a machine has: none, DejaVu alone, or many."""

import subprocess
from pathlib import Path

import pytest

from configs.schema import Render
from serving.render import fonts, sandbox
from serving.render.charts import ChartRenderer
from serving.render.web import WebRenderer

PAGE = (
    "<h1>Größe Ω я</h1><p style='font-family:Arial'>Arial <b>bold</b> <i>italic</i><p style='font-family:Georgia'>serif"
    "<p><code>code()</code><p style='font-family:Comic Sans MS'>none<p>中文 العربية 😀 ∑∫√"
)
CHART = "import matplotlib.pyplot as plt\nplt.title('Größe Ω 中 $x^2$', family=['Arial', 'serif'])\nplt.plot([1, 2])"
SETS = {  # bubblewrap's options that change what /usr/share/fonts holds
    "as they are": [],
    "none": ["--tmpfs", "/usr/share/fonts"],
    "many": ["--ro-bind", str(fonts.folder()), "/usr/share/fonts"],
}


async def test_pages_and_charts_are_the_same_on_three_sets_of_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = sandbox.namespace_flags
    pages, charts = set(), set()
    for extra in SETS.values():
        monkeypatch.setattr(sandbox, "namespace_flags", lambda extra=extra: [*plain(), *extra])
        web, chart = WebRenderer(Render()), ChartRenderer(Render())
        try:
            pages.add((await web.render(PAGE)).png)
            charts.add((await chart.render(CHART)).png)
        finally:
            await web.close()
            await chart.close()
    assert len(pages) == len(charts) == 1 and None not in pages | charts


def test_the_sets_differ() -> None:
    """What a process sees in the jail, so that the test above compares something."""
    seen = set()
    for extra in SETS.values():
        command = ["bwrap", *sandbox.namespace_flags(), *extra, "--", "ls", "-R", "/usr/share/fonts"]
        seen.add(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert len(seen) >= 2


def test_what_no_font_has_is_reported_and_nothing_else() -> None:
    assert fonts.missing("Größe Ω я é &eacute; ∑ “quotes” — € \u200b\u0301") == []
    assert fonts.missing("中&#x6587;中 漢") == ["中", "文", "漢"]


def test_the_fonts_are_there() -> None:
    names = {path.name for path in Path(fonts.folder()).glob("*.ttf")}
    assert {"DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf"} <= names


async def test_a_family_is_drawn_in_the_manner_that_its_name_means() -> None:
    web = WebRenderer(Render())
    try:
        drawn = {}
        for family in ("DejaVu Sans", "sans-serif", "Arial", "'Segoe UI', Roboto", "DejaVu Serif", "Georgia", "serif"):
            drawn[family] = (await web.render(f'<p style="font-family:{family}">Sample')).png
    finally:
        await web.close()
    assert drawn["sans-serif"] == drawn["Arial"] == drawn["'Segoe UI', Roboto"] == drawn["DejaVu Sans"]
    assert drawn["serif"] == drawn["Georgia"] == drawn["DejaVu Serif"] != drawn["DejaVu Sans"]
