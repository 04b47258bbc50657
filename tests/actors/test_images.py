"""Pictures in: any readable image becomes one PNG, anything else one clear line."""

import io
from pathlib import Path

import pytest
from PIL import Image

from actors.images import normalise, read_image


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def test_a_plain_png_passes_through_untouched() -> None:
    data = encode(Image.new("RGB", (20, 10), "red"), "PNG")
    assert normalise(data, 1000) is data


@pytest.mark.parametrize(
    "data",
    [
        encode(Image.new("RGBA", (20, 10), (255, 0, 0, 128)), "PNG"),
        encode(Image.new("L", (20, 10), 7), "PNG"),
        encode(Image.new("I;16", (20, 10), 700), "PNG"),
        encode(Image.new("CMYK", (20, 10)), "JPEG"),
        encode(Image.new("P", (20, 10)), "GIF"),
        encode(Image.new("RGB", (20, 10)), "GIF", save_all=True, append_images=[Image.new("RGB", (20, 10), "red")]),
    ],
    ids=["alpha", "grey", "16-bit", "cmyk", "palette", "animated"],
)
def test_every_mode_becomes_rgb_png(data: bytes) -> None:
    image = Image.open(io.BytesIO(normalise(data, 1000)))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (20, 10))


def test_transparency_is_shown_on_white() -> None:
    clear = encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")
    assert Image.open(io.BytesIO(normalise(clear, 100))).getpixel((0, 0)) == (255, 255, 255)


def test_large_images_are_scaled_to_the_area_with_their_shape() -> None:
    image = Image.open(io.BytesIO(normalise(encode(Image.new("RGB", (400, 200)), "PNG"), 20_000)))
    assert image.size == (200, 100)


def test_what_no_model_takes_is_refused_and_never_made_by_scaling() -> None:
    with pytest.raises(ValueError, match="too thin"):
        normalise(encode(Image.new("RGB", (2, 402)), "PNG"), 100_000)
    thin = Image.open(io.BytesIO(normalise(encode(Image.new("RGB", (4000, 20)), "PNG"), 39_000)))
    assert thin.width / thin.height <= 200 and thin.width > 2500


@pytest.mark.parametrize("data", [b"", b"hello", encode(Image.new("RGB", (90, 90), "red"), "PNG")[:60]])
def test_garbage_is_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a readable image") as caught:
        normalise(data, 1000)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.png: no such image"):
        read_image(tmp_path / "absent.png", 100)
