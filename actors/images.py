"""Pictures as the rest of the system wants them: PNG bytes, RGB, no larger than asked.

Guarantees: `read_image` returns a decodable PNG or raises ValueError with one line that names the file and the fault;
the same file and limit give the same bytes.
"""

import io
import math
from pathlib import Path

from PIL import Image, UnidentifiedImageError

THIN = 200  # ratio of the sides beyond which the image processors of Qwen2-VL refuse a picture
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
Image.MAX_IMAGE_PIXELS = 80_000_000  # larger ones raise instead of filling the memory


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


def normalise(data: bytes, max_pixels: int) -> bytes:
    """The same for bytes in any format Pillow reads. A PNG that needs no change is passed through as it is."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image ({' '.join(str(error).split())[:120]})") from None
    if too_thin(image.width, image.height):
        raise ValueError(f"{image.width} x {image.height} is too thin: one side is more than {THIN} times the other")
    small = image.width * image.height <= max_pixels
    if small and image.format == "PNG" and image.mode == "RGB" and getattr(image, "n_frames", 1) == 1:
        return data
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    if not small:
        scale = math.sqrt(max_pixels / (flat.width * flat.height))
        width, height = (max(1, int(side * scale)) for side in flat.size)
        short = math.ceil(max(width, height) / THIN)  # rounding must not make it too thin
        flat = flat.resize((max(width, short), max(height, short)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    flat.save(out, "PNG")
    return out.getvalue()
