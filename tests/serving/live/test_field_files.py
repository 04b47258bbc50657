"""Files as people send them (`../shared/data/field`), by every door: each command, HTTP, and what training reads."""

import asyncio
import base64
import io
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from actors.images import read_image
from configs.schema import Judge
from serving.judge.service import judge_files
from serving.render import __main__ as render
from tests.data import real
from tests.serving.live import Live

CLEAR = 0.9  # similarity from which two pictures are alike
READABLE = 21_000_000  # pixels, more than any has
SOURCES = (
    "dpi300/bars_plain.py", "dpi300/bars_dpi300.py", "dpi300/figure_dpi300.py", "read_back/canvas.py",
    "read_back/crop.py", "read_back/k_anim_show.py", "read_back/e_usetex.py", "same_stem/a/plot.py",
    "same_stem/b/plot.py", "pages/wide.html",
)  # fmt: skip
MESSAGES = {
    "dpi300/bars_dpi300.py": "drawn at 100 dpi instead of 300",
    "dpi300/figure_dpi300.py": "drawn at 100 dpi instead of 300",
    "read_back/e_usetex.py": "there is no LaTeX here: leave out text.usetex",
}
ALIKE = (
    ("pictures/exif6.jpg", "pictures/plain.png"), ("pictures/grey16.png", "pictures/grey8.png"),
    ("pictures/cmyk.jpg", "pictures/plain.png"),
)  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What `python -m serving.render` says of each source, all in one call."""
    lines = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", lines)
        status = render.main([*(str(real("field") / s) for s in SOURCES), "--out", str(tmp_path_factory.mktemp("out"))])
    assert status == 0  # a program that fails is an outcome
    return dict(zip(SOURCES, map(json.loads, lines.getvalue().splitlines()), strict=True))


def similarity(target: Path, other: Path) -> float:
    return asyncio.run(judge_files(Judge(), target, other, "chart")).score


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_is_drawn_or_says_what_to_do(drawn: dict[str, dict], source: str) -> None:
    found = drawn[source]
    assert found["ok"] == (source != "read_back/e_usetex.py") and MESSAGES.get(source, "") in found["message"]
    assert found["message"] or source not in MESSAGES


def test_what_is_drawn_is_what_is_meant(drawn: dict[str, dict]) -> None:
    pictures = {source: Path(found["png"]) for source, found in drawn.items() if found["ok"]}
    assert len(set(pictures.values())) == len(SOURCES) - 1  # two of one stem have two pictures
    assert similarity(pictures["dpi300/bars_plain.py"], pictures["dpi300/bars_dpi300.py"]) >= CLEAR
    assert Image.open(pictures["pages/wide.html"]).width == 1800
    assert similarity(real("field") / "pages/wide.png", pictures["pages/wide.html"]) >= CLEAR
    moving = np.asarray(Image.open(pictures["read_back/k_anim_show.py"]).convert("L"))
    assert (moving[60:420, 90:560] < 200).sum() > 30  # a line within the axes


@pytest.mark.parametrize(("odd", "plain"), ALIKE)
def test_a_picture_is_upright_and_of_eight_bits_by_every_door(live: Live, odd: str, plain: str) -> None:
    files = real("field") / odd, real("field") / plain
    assert similarity(*files) >= 0.99
    target, other = (base64.b64encode(file.read_bytes()).decode() for file in files)
    answer = httpx.post(f"{live.url}/judge", json={"target": target, "render": other}, timeout=60)
    assert answer.status_code == 200 and answer.json()["score"] >= 0.99
    read, wanted = (np.asarray(Image.open(io.BytesIO(read_image(file, READABLE)))).astype(int) for file in files)
    assert read.shape == wanted.shape and abs(read - wanted).mean() < 2


@pytest.mark.parametrize("source", [s for s in SOURCES if s != "same_stem/b/plot.py"])
def test_http_draws_what_the_command_draws(live: Live, drawn: dict[str, dict], source: str) -> None:
    kind = "text/html" if source.endswith(".html") else "text/x-python"
    body = b"\xef\xbb\xbf" + (real("field") / source).read_bytes()
    answer = httpx.post(f"{live.url}/render", content=body, headers={"content-type": kind}, timeout=90).json()
    found = drawn[source]
    assert (answer["ok"], answer["message"]) == (found["ok"], found["message"])
    if found["ok"]:
        assert base64.b64decode(answer["png"]) == Path(found["png"]).read_bytes()
