"""Image sets: what cannot be read is named and left out."""

import io
from pathlib import Path

import pytest
from PIL import Image

from configs.load import ConfigError, load
from training.data.image_sets import folder, training_and_evaluation


def write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    path.write_bytes(out.getvalue())


def test_corrupt_files_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    write(tmp_path / "deep" / "b.png")
    (tmp_path / "c.png").write_bytes(b"not an image")
    (tmp_path / "notes.txt").write_text("x")
    found = folder(tmp_path, 10_000)
    assert [Path(p).name for p in found.paths] == ["a.png", "b.png"]
    assert len(found.rejected) == 1 and "c.png" in found.rejected[0]


@pytest.mark.parametrize("content", [None, b"", b"junk"])
def test_no_usable_image_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ConfigError, match="no readable image among") as caught:
        folder(tmp_path, 10_000)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder; data\.images is a folder of pictures"):
        folder(tmp_path / "absent", 10_000)


def test_a_folder_is_split_without_overlap(tmp_path: Path) -> None:
    for i in range(30):
        write(tmp_path / f"{i:02d}.png")
    train, held = training_and_evaluation(load(None, [f"data.images={tmp_path}"]), tmp_path / "cache")
    assert len(train.paths) == 27 and len(held[0].paths) == 3
    assert not set(train.paths) & set(held[0].paths)
