"""SVG in the jail: what is drawn, at which size, and what a hostile document comes to."""

import io
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image

from configs.domains import find
from configs.domains.svg import SIDE, example
from configs.load import load
from configs.schema import Render, Sandbox
from serving.judge.perceptual import compare
from serving.render.service import Renders
from tests.domains.hostile_svg import ATTACKS, NS
from training.data import examples
from training.data.image_sets import training_and_evaluation


@pytest.fixture(scope="module")
async def renders() -> AsyncIterator[Renders]:
    made = Renders(Render(sandbox=Sandbox(cpu_s=3, wall_s=60, memory_mb=512)))
    yield made
    await made.close()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.asyncio(loop_scope="module")
async def test_shapes_text_and_references_are_drawn_at_one_size_on_white(renders: Renders) -> None:
    source = (
        f'<svg {NS} viewBox="0 0 9 6"><rect id="a" width="3" height="3" fill="red"/><use href="#a" x="6" y="3"/></svg>'
    )
    found = await renders.render(source, "svg")
    assert found.ok and found.size == (SIDE, round(SIDE * 6 / 9)) and found.message == ""
    shown = pixels(found.png or b"")
    assert tuple(shown[10, 10]) == tuple(shown[-10, -10]) == (255, 0, 0) and tuple(shown[10, -10]) == (255, 255, 255)
    plain = await renders.render('<svg width="90" height="60"><text x="5" y="40" font-size="40">Ab</text></svg>', "svg")
    assert plain.ok and pixels(plain.png or b"").min() == 0  # without a namespace, and in a font of the jail's
    half = await renders.render(
        f'<svg {NS} viewBox="0 0 1 1"><rect width="1" height="1" fill-opacity="0.5"/></svg>', "svg"
    )
    assert abs(int(pixels(half.png or b"")[5, 5, 0]) - 127) <= 1
    assert (await renders.render(source, "svg")).png == found.png


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a[0])
async def test_a_hostile_document_comes_to_what_it_may(
    attack: tuple[str, tuple[str, ...], str], renders: Renders, tmp_path: Path
) -> None:
    name, outcomes, source = attack
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)

    def listen() -> None:
        try:
            asked.append(listener.accept()[0].recv(99))
        except OSError:
            return

    thread = threading.Thread(target=listen)
    thread.start()
    red = f'<svg {NS} viewBox="0 0 9 9"><rect id="a" width="9" height="9" fill="red"/></svg>'
    (tmp_path / "a.svg").write_text(red)
    Image.new("RGB", (9, 9), "red").save(tmp_path / "a.png")
    for mark, value in (
        ("$FILE", tmp_path / "a.svg"), ("$PICTURE", tmp_path / "a.png"),
        ("$URL", f"http://127.0.0.1:{listener.getsockname()[1]}/"),
    ):  # fmt: skip
        source = source.replace(mark, str(value))
    found = await renders.render(source, "svg")
    thread.join()
    listener.close()
    assert asked == []
    assert (found.kind or "ok") in outcomes, f"{name}: {found.kind}: {found.message}"
    assert str(tmp_path) not in found.message and "Traceback" not in found.message and "line 1:" not in found.message
    if found.png is not None and name not in ("large_numbers",):
        assert (pixels(found.png)[:, :, 0] <= pixels(found.png)[:, :, 1]).all()  # nothing red is in it


@pytest.mark.asyncio(loop_scope="module")
async def test_similarity_falls_with_what_differs_and_blank_is_nothing(renders: Renders) -> None:
    def one(inner: str) -> str:
        return f'<svg viewBox="0 0 9 6">{inner}</svg>'

    sources = [
        '<circle cx="3" cy="2" r="1" fill="red"/>', '<circle cx="3.2" cy="2" r="1" fill="red"/>',
        '<circle cx="4" cy="2" r="1" fill="red"/>', '<circle cx="7" cy="4" r="2" fill="blue"/>', "",
    ]  # fmt: skip
    target, *others = [(await renders.render(one(s), "svg")).png or b"" for s in sources]
    near, apart, other, blank = (compare(target, png, "svg").score for png in others)
    assert 1 > near > apart > other >= 0 and blank == 0 and near > 0.6 and other < 0.1


def test_examples_are_of_the_domain_and_depend_on_the_seed_alone() -> None:
    made = [example(Random(n)) for n in range(50)]
    assert made == [example(Random(n)) for n in range(50)] and len(set(made)) > 40
    assert all(find("svg").bare(f"so: {text} done") == text for text in made)


def test_pictures_to_learn_from_show_examples_in_a_look_that_the_start_never_saw(tmp_path: Path) -> None:
    plain = examples.write(tmp_path, "svg", "train", 12, seed=3)
    shown = examples.write(tmp_path, "svg", "train", 12, seed=3, restyled=True)
    assert (plain / examples.INDEX).read_text() == (shown / examples.INDEX).read_text()  # the same sources
    for one, other in zip(sorted(plain.glob("*.png")), sorted(shown.glob("*.png")), strict=True):
        assert one.read_bytes() != other.read_bytes()
        score = compare(other.read_bytes(), one.read_bytes(), "svg").score
        assert 0.3 < score < 0.95  # its own source is what is like it, and no example is all of it
    config = load("configs/tiny_svg.yaml", ["data.count=12", "evaluate.count=2", "run.seed=3"])
    known, _ = training_and_evaluation(config, tmp_path)
    assert [Path(path).parent for path in known.paths] == [shown] * 12


def test_held_out_pictures_have_the_looks_of_those_to_learn_from(tmp_path: Path) -> None:
    for split in ("train", "heldout"):
        shown = examples.write(tmp_path, "svg", split, 16, seed=4, restyled=True)  # type: ignore[arg-type]
        navy = [int((pixels(file.read_bytes()) == (0, 0, 128)).all(axis=2).sum()) for file in shown.glob("*.png")]
        assert 0 < sum(count > 0 for count in navy) < 16, f"{split}: some have an outline and some have none"
