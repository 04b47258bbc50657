"""What people really send to the renderers, after public reports of theirs: each case with what is right."""

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.contracts import RenderResult
from configs.schema import Render, Sandbox
from serving.render import __main__ as module
from serving.render.charts import ChartRenderer
from serving.render.source import charset_of, domain_of, domain_of_type, names, text_of
from serving.render.web import WebRenderer
from serving.render.web_page import MAX_PIXELS

PLT = "import matplotlib.pyplot as plt\n"
BARS = PLT + "fig, ax = plt.subplots(figsize=(4, 3){dpi})\nax.bar(['a', 'b'], [1, 2])\nax.set_title('Bars')\n"
BAR = BARS.format(dpi="")
CHARTS = {
    "plain": BAR + "plt.savefig('x.png')",
    "save_300": BAR + "plt.savefig('x.png', dpi=1000)",
    "save_300_tight": BAR + "plt.savefig('x.png', dpi=1000, bbox_inches='tight')",
    "figure_300": BARS.format(dpi=", dpi=1000") + "plt.tight_layout()\nplt.savefig('x.png')",
    "settings_300": "import matplotlib as m\nm.rcParams['savefig.dpi'] = 1000\n" + BAR + "plt.savefig('x')",
    "into_memory_300": "import io\n" + BAR + "b = io.BytesIO()\nfig.savefig(b, dpi=1000)\nassert b.tell() > 99",
    "fits_200": BAR + "plt.savefig('x.png', dpi=200)",
    "read_back": "from PIL import Image as I\n" + BAR + "plt.savefig('x')\nassert I.open('x.png').size == (400, 300)",
    "measure": "import os\n" + BAR + "plt.savefig('x.png')\nassert os.path.getsize('x.png') > 500",
    "read_back_300": "from PIL import Image\n" + BAR + "plt.savefig('x.png', dpi=1000)\nImage.open('x.png').load()",
    "makes_a_folder": "import os\nos.makedirs('out/deep', exist_ok=True)\n" + BAR
    + "plt.savefig('out/deep/x.png')\nassert os.listdir('out/deep') == ['x.png']",
    "mnt_data": "import os\nos.makedirs('/mnt/data/o', exist_ok=True)\n" + BAR
    + "plt.savefig('/mnt/data/o/x.png')\nos.rename('/mnt/data/o/x.png', '/tmp/y.png')\nassert os.path.exists('y.png')",
    "temporary": "import tempfile\n" + BAR + "with tempfile.NamedTemporaryFile(suffix='.png') as f:\n"
    "    plt.savefig(f.name)\n    assert open(f.name, 'rb').read(4) == b'\\x89PNG'",
    "pdf_pages": "from matplotlib.backends.backend_pdf import PdfPages\n" + BAR
    + "with PdfPages('/tmp/x.pdf') as pdf:\n    pdf.savefig(fig)\n    plt.close()",
    "by_hand": "import numpy as np\nfrom matplotlib.figure import Figure\nfrom PIL import Image\n"
    "from matplotlib.backends.backend_agg import FigureCanvasAgg\nfig = Figure(figsize=(4, 3))\n"
    "ax = fig.add_subplot()\nax.bar(['a', 'b'], [1, 2])\nax.set_title('Bars')\ncanvas = FigureCanvasAgg(fig)\n"
    "canvas.draw()\nImage.fromarray(np.asarray(canvas.buffer_rgba())).save('x.png')",
    "blank_after": BAR + "plt.savefig('x.png')\nplt.figure()\nplt.savefig('y.png')",
    "blank_open": BAR + "plt.figure()",
    "blank_shown": BAR + "plt.show()\nplt.figure()\nplt.show()",
    "byte_order_mark": "\ufeff" + BAR,
    "carriage_returns": BAR.replace("\n", "\r\n"),
}  # fmt: skip
ANIMATED = """import matplotlib.pyplot as plt
from matplotlib.animation import FuncAnimation, PillowWriter
fig, ax = plt.subplots(figsize=(4, 3))
line, = ax.plot([], [])
ax.set_xlim(0, 9), ax.set_ylim(0, 9)
def clear():
    line.set_data([], [])
    return line,
def update(i):
    line.set_data(range(i + 4), range(i + 4))
    return line,
moving = FuncAnimation(fig, update, frames=6, init_func=clear)
"""
GROWING = ANIMATED.replace("range(i + 4), range(i + 4)", "range(2 * i), range(2 * i)").replace(", init_func=clear", "")
SAYS = {  # program -> kind, what to do about it
    "%matplotlib inline\n" + BAR: ("syntax", "are for notebooks: leave them out"),
    "!pip install plotly\n": ("syntax", "are for notebooks: leave them out"),
    "import plotly.express as px": ("exception", "only these libraries are here: matplotlib, numpy"),
    "from sklearn.datasets import load_iris": ("exception", "only these libraries are here: matplotlib, numpy"),
    "import numpy as np\nnp.loadtxt('data.csv')": ("exception", "only files that the program has written are here"),
    "open('data.csv')": ("exception", "write the data into the program"),
    "n = int(input('How many? '))": ("exception", "nobody answers input(): write the values into the program"),
    "import urllib.request as u\nu.urlopen('https://example.com')": ("forbidden", "there is no network"),
    "plt = __import__('matplotlib.pyplot').pyplot\nplt.rc('text', usetex=True)\nplt.title('$x$')\nplt.savefig('x')": (
        None, "there is no LaTeX here: leave out text.usetex",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn() -> Iterator[dict[str, RenderResult]]:
    programs = [*CHARTS.items(), ("first_frame", ANIMATED + "plt.show()"), ("unshown", ANIMATED)]
    programs += [("growing", GROWING + "plt.show()"), ("endless", GROWING.replace("frames=6, ", "") + "plt.show()")]
    programs += [("saved_frames", ANIMATED + "moving.save('x.gif', writer=PillowWriter(fps=2))")]
    programs += [(program, program) for program in SAYS]
    programs += [
        ("letters", PLT + "plt.title('中文 ok')\nplt.plot([1])"),
        ("letters_known", PLT + "plt.title('Größe Ω я')"),
    ]

    async def all_of_them() -> dict[str, RenderResult]:
        renderer = ChartRenderer(Render(sandbox=Sandbox(wall_s=60)))
        try:
            return {name: await renderer.render(program) for name, program in programs}
        finally:
            await renderer.close()

    yield asyncio.run(all_of_them())


def pixels(result: RenderResult) -> np.ndarray:
    assert result.png is not None, result.message
    return np.asarray(Image.open(io.BytesIO(result.png)).convert("L"), float)


@pytest.mark.parametrize("name", [name for name in CHARTS if name not in ("save_300_tight", "fits_200")])
def test_a_chart_that_people_write_is_the_plain_one(drawn: dict[str, RenderResult], name: str) -> None:
    result = drawn[name]
    assert result.ok and result.size == (400, 300), result.message
    if name != "figure_300":  # whose layout moves the axes
        assert abs(pixels(result) - pixels(drawn["plain"])).mean() < 0.01


def test_a_resolution_that_does_not_fit_is_reported(drawn: dict[str, RenderResult]) -> None:
    assert drawn["save_300"].message == "drawn at 100 dpi instead of 1000, which makes 4000 x 3000 pixels"
    assert "drawn at 100 dpi instead of 1000" in drawn["figure_300"].message
    size = drawn["save_300_tight"].size
    assert size is not None and 300 < size[0] < 450 and "100 dpi" in drawn["save_300_tight"].message
    assert drawn["fits_200"].size == (800, 600) and drawn["fits_200"].message == drawn["plain"].message == ""


@pytest.mark.parametrize("name", ["first_frame", "unshown", "saved_frames", "growing", "endless"])
def test_an_animation_shows_a_frame_and_no_empty_axes(drawn: dict[str, RenderResult], name: str) -> None:
    inside = pixels(drawn[name])[45:260, 60:350]  # of the axes
    assert (inside < 200).sum() > 30


@pytest.mark.parametrize("program", SAYS)
def test_a_message_says_what_to_do(drawn: dict[str, RenderResult], program: str) -> None:
    kind, words = SAYS[program]
    assert not drawn[program].ok and words in drawn[program].message
    assert kind in (None, drawn[program].kind)
    assert not any(word in drawn[program].message for word in ("jail", "sandbox", "seccomp", "Landlock", "/rrvf"))


def test_characters_without_a_glyph_are_named(drawn: dict[str, RenderResult]) -> None:
    assert drawn["letters"].ok and "no font here has 中 (U+4E2D), 文 (U+6587)" in drawn["letters"].message
    assert drawn["letters_known"].message == ""


async def test_a_page_is_whole_and_says_what_it_lacks() -> None:
    lacks = "<link rel=stylesheet href='https://cdn.example.com/a.css'><img src='http://img.example.org/x.png'><p>漢"
    renderer = WebRenderer(Render())
    try:
        wide = await renderer.render("<body style='margin:0'><div style='width:1800px;height:900px;background:red'>")
        hidden = await renderer.render("<body style='overflow-x:hidden'><div style='width:1800px;height:9px'>")
        endless = await renderer.render("<body style='margin:0'><div style='width:60000px;height:60000px'>")
        lacking = await renderer.render(lacks)
        known = await renderer.render("<p>Größe Ω я &eacute; &#8364;")
    finally:
        await renderer.close()
    assert wide.size == (1800, 900) and (pixels(wide) == pixels(wide)[0, 0]).all()
    assert hidden.size == (1280, 720)
    assert endless.size == (8192, MAX_PIXELS // 8192)
    assert "not loaded, since there is no network: cdn.example.com (1), img.example.org (1)" in lacking.message
    assert "no font here has 漢 (U+6F22)" in lacking.message and known.message == ""


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("é".encode(), "", "é"), ("é".encode("utf-8-sig"), "", "é"), (b"\xff\xfe" + "é".encode("utf-16-le"), "", "é"),
        (b"<meta charset=latin-1>\xe9", "", "é"), (b"<META content='text/html; charset=ISO-8859-2'>\xb1", "", "ą"),
        (b"\xe9", "iso-8859-1", "é"), (b"\x80", "", "€"), (b"<meta charset=utf-16>x", "", "x"), (b"\xe9", "rot13", "é"),
        (b"<meta charset=no-such-thing>\xe9", "", "é"), (b"\xe9", "undefined", "é"), (b"\x82\xa0", "shift_jis", "あ"),
    ],
)  # fmt: skip
def test_a_page_is_read_as_it_declares(data: bytes, charset: str, text: str) -> None:
    assert text_of(data, "web", charset).endswith(text)


def test_a_program_is_read_as_it_declares_or_refused() -> None:
    assert text_of(b"\xef\xbb\xbfx = 1", "chart") == "x = 1"
    assert text_of(b"# coding: latin-1\nx = '\xe9'", "chart").endswith("'é'")
    odd = [f"# coding: {name}\nx = 1".encode() for name in ("no-such-thing", "rot13", "hex", "undefined", "punycode")]
    for bad in (b"x = '\xe9'", *odd):
        with pytest.raises((UnicodeDecodeError, SyntaxError)):
            text_of(bad, "chart")


def test_the_domain_follows_ending_and_content_type() -> None:
    found = [domain_of(Path(name)) for name in ("a.html", "a.HTM", "a.py", "a.txt", "a")]
    assert found == ["web", "web", "chart", None, None]
    assert domain_of_type("text/HTML; charset=utf-8") == "web" and domain_of_type("text/plain") is None
    assert charset_of('text/html; charset="ISO-8859-1"') == "ISO-8859-1" and charset_of("text/html") == ""


def test_two_inputs_of_one_stem_have_two_pictures() -> None:
    assert names([Path("a/plot.py"), Path("b/plot.py"), Path("plot-2.py"), Path("b/plot.html")]) == [
        "plot.png", "plot-2.png", "plot-2-2.png", "plot-3.png",
    ]  # fmt: skip


def test_the_command_draws_pages_as_pages_and_overwrites_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, height in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plot.py").write_bytes(
            b"\xef\xbb\xbf" + PLT.encode() + b"plt.figure(figsize=(2, %d))" % height
        )
    (tmp_path / "page.html").write_bytes(b"<meta charset=latin-1><p>\xe9")
    files = [str(tmp_path / name) for name in ("a/plot.py", "b/plot.py", "page.html")]
    assert module.main([*files, "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sizes = [Image.open(line["png"]).size for line in lines]
    assert sizes == [(200, 100), (200, 200), (1280, 720)] and lines[2]["message"] == ""
