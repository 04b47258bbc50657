"""Pictures as the rest of the system wants them: PNG bytes, RGB, no larger than asked.

Guarantees: `read_image` returns a decodable PNG or raises ValueError with one line that names the file and the fault;
the same file and limit give the same bytes.
"""

import io
import math
from pathlib import Path

from PIL import Image, UnidentifiedImageError

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


def normalise(data: bytes, max_pixels: int) -> bytes:
    """The same for bytes in any format Pillow reads. A PNG that needs no change is passed through as it is."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"not a readable image ({' '.join(str(error).split())[:120]})") from None
    small = image.width * image.height <= max_pixels
    if small and image.format == "PNG" and image.mode == "RGB" and getattr(image, "n_frames", 1) == 1:
        return data
    rgba = image.convert("RGBA")
    flat = Image.new("RGB", rgba.size, "white")
    flat.paste(rgba, mask=rgba.getchannel("A"))
    if not small:
        scale = math.sqrt(max_pixels / (flat.width * flat.height))
        size = (max(1, int(flat.width * scale)), max(1, int(flat.height * scale)))
        flat = flat.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    flat.save(out, "PNG")
    return out.getvalue()
