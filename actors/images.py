"""The one way in for pictures: any format that people send; out comes PNG, upright, 8-bit RGB on white.

Guarantees: the same picture by every door (command line, HTTP, training); the same bytes and limit give the same bytes;
what cannot be read is a ValueError of one line that names the fault, whatever the decoder raised; nothing is decoded
whose head promises more than MOST pixels, and no format that would start an interpreter (EPS). Of several pages or
frames the first counts.
"""

import contextlib
import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

from actors.text import one_line

THIN = 200  # ratio of the sides beyond which the image processors of Qwen2-VL refuse a picture
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(("AVIF",) if features.check("avif") else ()))
MOST = 80_000_000  # pixels
ORIENTATION = 0x0112  # the EXIF tag
Image.MAX_IMAGE_PIXELS = MOST


def read_image(path: str | Path, max_pixels: int) -> bytes:
    """PNG bytes of an image file on white, scaled down to at most `max_pixels` pixels."""
    try:
        return normalise(Path(path).read_bytes(), max_pixels)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such image") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def too_thin(width: int, height: int) -> bool:
    return max(width, height) > THIN * min(width, height)


def decoded(data: bytes) -> Image.Image:
    """The picture as 8-bit RGB, upright, on white. Raises ValueError."""
    with _readable():
        return _flat(_opened(data))


def normalise(data: bytes, max_pixels: int) -> bytes:
    """The same for bytes in any of FORMATS. A PNG that needs no change is passed through as it is."""
    with _readable():
        image = _opened(data)
        if too_thin(image.width, image.height):
            size = f"{image.width} x {image.height}"
            raise _Unfit(f"{size} is too thin: one side is more than {THIN} times the other")
        small = image.width * image.height <= max_pixels
        if small and (image.format, image.mode) == ("PNG", "RGB") and _plain(image):
            return data
        flat = _flat(image)
    if not small:
        scale = math.sqrt(max_pixels / (flat.width * flat.height))
        width, height = (max(1, int(side * scale)) for side in flat.size)
        short = math.ceil(max(width, height) / THIN)  # rounding must not make it too thin
        flat = flat.resize((max(width, short), max(height, short)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    flat.save(out, "PNG")
    return out.getvalue()


class _Unfit(ValueError):
    """A picture that can be read and is not to be used."""


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Whatever a decoder raises inside becomes a ValueError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except _Unfit:
        raise
    except Exception as error:  # broken files make decoders raise nearly everything
        what = one_line(str(error))[:120]
        raise ValueError(f"not a readable image of {', '.join(FORMATS)} ({what})") from None


def _opened(data: bytes) -> Image.Image:
    """The first frame, unpacked."""
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > MOST:
        raise ValueError(f"{image.width} x {image.height} pixels; at most {MOST // 10**6} million are read")
    image.load()
    return image


def _plain(image: Image.Image) -> bool:
    """Whether a PNG is one frame, as it stands, without a transparent colour."""
    return getattr(image, "n_frames", 1) == 1 and not _turned(image) and "transparency" not in image.info


def _turned(image: Image.Image) -> bool:
    try:
        return image.getexif().get(ORIENTATION, 1) not in (None, 1)
    except Exception:  # of damaged EXIF
        return False


def _flat(image: Image.Image) -> Image.Image:
    if _turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # more than 8 bits of grey, which Pillow would cut off at 255
        image = Image.fromarray(_grey(np.asarray(image)))
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def _grey(values: np.ndarray) -> np.ndarray:
    """16-bit or real values as bytes; real values up to 1 are shares of white."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(values) * (255.0 if np.nanmax(values, initial=0.0) <= 1 else 1.0)
    elif values.dtype.itemsize == 2 or values.max(initial=0) > 255:
        values = values // 257
    return np.clip(values, 0, 255).astype(np.uint8)
