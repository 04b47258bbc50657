"""The course in pages: blocks cut apart make the pages that the browser draws, and training goes on where it was."""

import asyncio
import io
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs.schema import Prompts, Render
from serving.render.web import WebRenderer
from training.base import make, page_blocks, teach
from training.base.page_blocks import HEIGHT, ROWS, WIDTH, Blocks
from training.base.pages import Pages
from training.base.pictures import resized
from training.data.page_looks import drawing
from training.data.synthetic_pages import WINDOW, Page, is_held_out

PROMPTS = Prompts(system="tool", direct_system="direct", user="Draw this.")
LOOK = 240


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("blocks") / "blocks.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_blocks, "PLAIN", range(1))
        patch.setattr(page_blocks, "LOOKS", range(LOOK, LOOK + 1))
        patch.setattr(page_blocks, "HELD_OUT", 1)
        page_blocks.write(path, 0)
    return path


def drawn(found: Page, look: str | None) -> np.ndarray:
    async def draw() -> bytes | None:
        web = WebRenderer(Render(viewport=WINDOW, max_height=WINDOW[1]))
        try:
            return (await web.render(drawing(found, look))).png
        finally:
            await web.close()

    png = asyncio.run(draw())
    assert png is not None
    return resized([np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))], ROWS * HEIGHT, WIDTH)[0]


@pytest.mark.parametrize("look", [0, LOOK])
def test_a_stacked_page_is_what_the_browser_draws(file: Path, look: int) -> None:
    found, stacked = Blocks(file).stacked(5, look, random.Random(3))
    assert stacked.shape == (ROWS * HEIGHT, WIDTH, 3) and not is_held_out(found)
    apart = np.abs(stacked.astype(int) - drawn(found, str(look) if look else None))
    assert apart.mean() < 1.5  # resizing mixes the rows of pixels at the seams of blocks
    seams = np.arange(ROWS * HEIGHT) % HEIGHT
    assert apart[(seams > 1) & (seams < HEIGHT - 2)].max() <= 2


def test_the_course_opens_level_by_level_and_ends_without_a_rate(file: Path) -> None:
    course = Pages(Blocks(file), 0, batch=6)
    first, last = course.batch(100, 0.01), course.batch(100, 0.99)
    assert all("<nav>" not in s.answer for s in first) and any("<nav>" in s.answer for s in last)
    assert course.rate(0, 0.0)[0] < course.rate(100, 0.3)[0] == course.peak > course.rate(100, 0.9)[0] > 0
    assert [s.answer for s in course.batch(5, 0.5)] == [s.answer for s in course.batch(5, 0.5)]


def test_pages_are_trained_and_measured(file: Path, tmp_path: Path) -> None:
    untrained = tmp_path / "untrained"
    make.tiny_policy.build(untrained, 0, make.page_texts(0), make.PAGE_WORDS)
    course = Pages(Blocks(file), 0, batch=2)
    teach.train(untrained, tmp_path, course, PROMPTS, 0, tmp_path / "trained", steps=2)
    teacher = teach.Teacher(tmp_path / "trained", PROMPTS)
    found = course.held_out(teacher, 2, 1.0)
    assert set(found) == {f"{level}/{look}" for level in page_blocks.LEVELS for look in ("plain", "held")}
    assert all(0 <= value <= 1 for figures in found.values() for value in figures.values())
    from safetensors.torch import load_file

    before, after = (load_file(p / "model.safetensors") for p in (untrained, tmp_path / "trained"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
