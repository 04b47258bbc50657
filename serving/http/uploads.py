"""Pictures that come from outside: base64 or bytes in, a PNG of ours out, or one clear line.

Guarantees: what comes out is written anew, pixels alone, so that every decoder behind reads it, and is what the same
file is on the command line and in training (`actors.images`); nothing is unpacked whose head promises more than MOST
pixels, and two at a time, beside the event loop: no picture makes the server slow, large or fall. Whatever a decoder
raises is a BadRequest. Nothing is fetched.
"""

import asyncio
import base64
import binascii
import io
import warnings
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from actors.images import FORMATS, normalise, too_thin
from serving.http.errors import BadRequest

MOST = 25_000_000  # pixels; decoded and flattened some 300 MB
threads = ThreadPoolExecutor(2, thread_name_prefix="pictures")


def decoded(text: str, name: str) -> bytes:
    """Bytes of base64 or of a base64 data URL, wrapped or not. `name`: what the client calls it."""
    head, comma, rest = text.partition(",")
    if comma and not (head.startswith("data:") and head.endswith(";base64")):
        raise BadRequest("bad_image", f"`{name}` must be base64 or a data URL (data:image/png;base64,...)", param=name)
    try:
        return base64.b64decode("".join((rest if comma else text).split()), validate=True)  # may come in lines
    except (binascii.Error, ValueError):
        raise BadRequest("bad_image", f"`{name}` is not base64", param=name) from None


async def picture(value: str | bytes, name: str, max_pixels: int) -> bytes:
    """PNG bytes, RGB, scaled down to `max_pixels`. `value`: base64, data URL or the bytes. Raises BadRequest."""
    data = decoded(value, name) if isinstance(value, str) else value
    if not data:
        raise BadRequest("no_image", f"send an image as `{name}`", param=name)
    return await asyncio.get_running_loop().run_in_executor(threads, _checked, data, name, max_pixels)


def _checked(data: bytes, name: str, max_pixels: int) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
        except Image.DecompressionBombError:
            raise _too_many(name) from None
        except Exception:  # broken files make decoders raise nearly everything
            message = f"`{name}` is not a readable image ({', '.join(FORMATS)})"
            raise BadRequest("bad_image", message, param=name) from None
        if width * height > MOST:
            raise _too_many(name)
        if too_thin(width, height):
            raise BadRequest("bad_image", f"`{name}` is too thin ({width} x {height})", param=name)
        try:
            with Image.open(io.BytesIO(normalise(data, max_pixels))) as image:
                out = io.BytesIO()
                image.convert("RGB").save(out, "PNG", compress_level=3)
                return out.getvalue()
        except Exception:
            raise BadRequest("bad_image", f"`{name}` is broken: it cannot be decoded", param=name) from None


def _too_many(name: str) -> BadRequest:
    message = f"`{name}` has too many pixels; at most {MOST // 10**6} million are read"
    return BadRequest("bad_image", message, param=name)
