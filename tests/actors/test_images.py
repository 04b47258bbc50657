"""Pictures in: any readable image becomes one PNG, anything else one clear line."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from actors.images import decoded, normalise, read_image
from serving.http.uploads import picture


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


def odd_ways() -> dict[str, bytes]:
    """One picture (red left half, blue right, wider than tall) as people send it."""
    upright = Image.new("RGB", (60, 40), "red")
    upright.paste("blue", (30, 0, 60, 40))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees to the right
    lying = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(lying, "JPEG", exif=turned, quality=100, subsampling=0)
    lying_png = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(lying_png, "PNG", exif=turned)
    pages = io.BytesIO()
    upright.save(pages, "TIFF", save_all=True, append_images=[Image.new("RGB", (60, 40), "green")])
    return {
        "plain": encode(upright, "PNG"), "turned photo": lying.getvalue(), "turned PNG": lying_png.getvalue(),
        "print colours": encode(upright.convert("CMYK"), "TIFF"), "pages": pages.getvalue(),
        "palette": encode(upright.quantize(4), "PNG"), "lossless WebP": encode(upright, "WEBP", lossless=True),
        "AVIF": encode(upright, "AVIF", quality=100, subsampling="4:4:4"),
    }  # fmt: skip


@pytest.mark.parametrize("name", odd_ways())
def test_a_picture_is_the_same_however_it_is_sent(name: str) -> None:
    data, plain = odd_ways()[name], decoded(odd_ways()["plain"])
    by_doors = [decoded(data), *(Image.open(io.BytesIO(png)) for png in (normalise(data, 10_000), upload(data)))]
    for image in by_doors:
        assert image.size == (60, 40) and image.mode == "RGB"
        for at in ((10, 20), (50, 20)):
            wanted, found = plain.getpixel(at), image.getpixel(at)
            assert max(abs(a - b) for a, b in zip(wanted, found, strict=True)) <= 12  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i4", "<f4"])
def test_grey_of_more_than_eight_bits_is_no_white(kind: str) -> None:
    shades = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (40, 1))
    deep = (shades / 255).astype(kind) if kind == "<f4" else (shades.astype(int) * 257).astype(kind)
    data = encode(Image.fromarray(deep), "TIFF")
    by_doors = [decoded(data), *(Image.open(io.BytesIO(png)) for png in (normalise(data, 10_000), upload(data)))]
    for image in by_doors:
        assert abs(np.asarray(image)[:, :, 0].astype(int) - shades).max() <= 1


def upload(data: bytes) -> bytes:
    return asyncio.run(picture(data, "image", 10_000))
