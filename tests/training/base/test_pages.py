"""The course in pages: blocks cut apart make the pages that the browser draws, and training goes on where it was."""

import asyncio
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configs.load import load
from configs.schema import Prompts, Render
from serving.render.web import WebRenderer
from training.base import card, make, page_blocks, page_words, pages, teach
from training.base import shipped as embedded
from training.base.page_blocks import HEIGHT, ROWS, WIDTH, Blocks
from training.base.pages import Pages
from training.base.pictures import resized
from training.base.read import Reader, own, table
from training.data.labels import PAGES
from training.data.page_looks import drawing
from training.data.synthetic_pages import COLOURS, WINDOW, WORDS, Block, Page, is_held_out, page

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


def test_blocks_fill_their_rows_with_what_the_pages_of_the_browser_show(file: Path) -> None:
    blocks = Blocks(file)
    for rows in (1, 2, 3):
        found, picture = blocks.filled(rows, 0, random.Random(rows))
        assert found.rows == rows and picture.shape == (rows * HEIGHT, WIDTH, 3)
        assert np.abs(picture.astype(int) - drawn(found, None)[: rows * HEIGHT]).mean() < 3  # seams, as above


def test_the_course_goes_from_words_to_blocks_to_pages_and_ends_without_a_rate(file: Path) -> None:
    course = Pages(Blocks(file), 0)
    starts = [sum(stage.steps for stage in pages.STAGES[:n]) for n in range(len(pages.STAGES))]
    for stage, start in zip(pages.STAGES, starts, strict=True):
        batch, again = course.batch(start), course.batch(start)
        assert [found for found, _ in batch] == [found for found, _ in again] and len(batch) == stage.size
        assert {picture.shape for _, picture in batch} == {(stage.rows * HEIGHT, WIDTH, 3)}
        assert not any(is_held_out(found) for found, _ in batch)
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(batch, again, strict=True))
    assert list(dict.fromkeys(stage.taught for stage in pages.STAGES)) == ["words", "blocks", "pages"]
    assert course.rate(0)[0] < course.rate(pages.WARM_UP)[0] and course.rate(pages.TOTAL)[0] == 0


def test_other_inks_keep_what_is_drawn() -> None:
    drawn = np.zeros((4, 4, 3), np.uint8)
    drawn[:, 2:] = 255
    seen = [pages.inked(drawn, inks, random.Random(i)) for inks in ("inverted", "any") for i in range(40)]
    assert np.array_equal(pages.inked(drawn, "own", random.Random(0)), drawn)
    assert {image.tobytes() for image in seen[:40]} == {drawn.tobytes(), (255 - drawn).tobytes()}
    assert sum(image.tobytes() == drawn.tobytes() for image in seen[40:]) in range(10, 30)
    for image in seen:  # two halves as before, and they differ
        left, right = image[:, :2].reshape(-1, 3), image[:, 2:].reshape(-1, 3)
        assert (left == left[0]).all() and (right == right[0]).all() and (left[0] != right[0]).any()


def test_a_captured_picture_shows_the_same_in_other_pixels() -> None:
    """A black square on paper is moved by two pixels at most, stays the darkest part, and is another one each time."""
    drawn = np.full((56, 196, 3), 240, np.uint8)
    drawn[20:40, 80:120] = 16
    seen = [pages.captured(drawn, random.Random(i)) for i in range(20)]
    assert np.array_equal(seen[3], pages.captured(drawn, random.Random(3)))
    assert len({image.tobytes() for image in seen}) == 20
    for image in seen:
        assert image.shape == drawn.shape and image.dtype == np.uint8
        rows, columns, _ = np.nonzero(image < 128)
        for found, known in ((rows, (20, 39)), (columns, (80, 119))):
            assert abs(found.min() - known[0]) <= 3 and abs(found.max() - known[1]) <= 3


def test_words_are_asked_for_where_they_stand() -> None:
    blocks = [
        Block("header", ("News",), "teal", tall=True),
        Block("nav", ("Home", "Shop", "Cart")),
        Block("list", ("Tea", "Milk", "Rice")),
    ]
    found = dict(page_words.places(blocks))
    assert found["News"] == list(range(14))
    assert [found[w] for w in ("Home", "Shop", "Cart")] == [[14, 15], [16, 17, 18], [19, 20]]
    assert found["Tea"] == found["Milk"] == list(range(21, 28)) and found["Rice"] == list(range(28, 35))


def test_words_are_learned_from_their_tokens_and_nothing_else_of_the_text_is(file: Path, tmp_path: Path) -> None:
    teacher = teach.Teacher(built(tmp_path / "untrained"), PROMPTS)
    shown, picture = Blocks(file).filled(1, 0, random.Random(0))
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    tools, losses = teach.optimisers(teacher.model), []
    for _ in range(12):
        loss, first = page_words.loss(teacher, [shown.blocks], picture[None])
        loss.backward()
        for tool in tools:
            tool.step()
            tool.zero_grad(set_to_none=True)
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4 and first.all() and len(first) == sum(len(b.words) for b in shown.blocks)
    same = {name for name, value in teacher.model.state_dict().items() if torch.equal(value, before[name])}
    assert all(("language_model.layers" in name or "embed_tokens" in name) == (name in same) for name in before)


def test_pages_are_trained_through_all_stages_and_measured(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = tuple(replace(stage, steps=1, size=2) for stage in pages.STAGES)
    monkeypatch.setattr(pages, "STAGES", stages)
    untrained = built(tmp_path / "untrained")
    course = Pages(Blocks(file), 0)
    teach.train(untrained, tmp_path, course, PROMPTS, 0, tmp_path / "trained", steps=len(stages))
    teacher = teach.Teacher(tmp_path / "trained", PROMPTS)
    figures = [course.held_out(teacher, step) for step in range(1, len(stages) + 1)]
    assert set(figures[-1]) == {f"{level}/{look}" for level in page_blocks.LEVELS for look in ("plain", "held")}
    assert all(0 <= value <= 1 for found in figures for row in found.values() for value in row.values())
    assert set(figures[-1]["5/plain"]) == {"all", "word", "colour", "other"}
    from safetensors.torch import load_file

    before, after = (load_file(p / "model.safetensors") for p in (untrained, tmp_path / "trained"))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    facts = {"seed": 0, "steps": len(stages), "cpu_s": 1, "pictures": 1, "greedy": {"word": 0.5, "exchanged word": 0.1}}
    card.ship(tmp_path / "trained", tmp_path / "shipped", facts, card.PAGES)
    written = (tmp_path / "shipped" / "MODEL_CARD.md").read_text()
    assert (
        "from the policy of charts on pages" in written and "| word | 0.500 |" in written and "word 0.100." in written
    )


def built(path: Path) -> Path:
    return make.tiny_policy.build(path, 0, make.page_texts(0), make.PAGE_WORDS, apart=())


def test_a_page_is_said_in_few_tokens(tmp_path: Path) -> None:
    tokens = make.tiny_policy.tokenizer(make.page_texts(0), make.PAGE_WORDS, ())
    answers = [page(5, i, 0, "heldout").answer for i in range(100)]
    assert max(len(tokens.encode(answer)) for answer in answers) <= 60
    assert all(tokens.decode(tokens.encode(answer)) == answer for answer in answers)
    assert all(len(tokens.encode(word)) == 1 for word in (*WORDS, *COLOURS))


def test_the_shipped_policy_reads_pages_and_nothing_when_pictures_are_exchanged() -> None:
    config, shipped = load("configs/tiny_web.yaml"), embedded("web")
    figures = json.loads((shipped / "card.json").read_text())["greedy"]
    shown, seen = own(config, 16)
    found = table(shown, Reader(shipped, config.prompts, PAGES).answers(seen), PAGES)
    assert found["answered"] > 0.9
    for name in ("kind", "colour", "word"):
        assert found[name] > figures[name] - 0.15, name
    assert found["exchanged word"] < 0.15 and found["exchanged colour"] < 0.3
