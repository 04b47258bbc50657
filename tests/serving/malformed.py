"""Pictures and requests that nobody should send."""

import io
import random
import struct
import zlib
from functools import cache

from PIL import Image, ImageDraw, PngImagePlugin


def drawn(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((10, 5, 30, 35), fill="red")
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(*chunks: bytes, size: tuple[int, int] = (60, 40), kind: int = 2, depth: int = 8) -> bytes:
    head = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IEND", b"")


@cache
def odd_pictures() -> dict[str, tuple[bytes, bool]]:
    """Name -> bytes, and whether they are a picture."""
    png, frames = saved(drawn(), "PNG"), [drawn(size=(60, 40)), drawn(size=(60, 40)).rotate(90)]
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", "x" * 5_000_000, zip=True)
    rows = zlib.compress(b"\0" * (60 * 3 + 1) * 40)
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    return {
        "truncated PNG": (png[: len(png) // 2], False),
        "no end": (png[:-12], True),  # decoders differ: some read it, some do not
        "head alone": (png[:33], False),
        "truncated JPEG": (saved(drawn(), "JPEG")[:300], False),
        "huge PNG": (saved(Image.new("1", (9000, 9000)), "PNG"), False),
        "large PNG": (saved(Image.new("L", (4000, 3000), 200), "PNG"), True),
        "one pixel": (saved(drawn(size=(1, 1)), "PNG"), True),
        "a line": (saved(drawn(size=(9000, 1)), "PNG"), False),
        "animated GIF": (saved(frames[0], "GIF", save_all=True, append_images=frames[1:]), True),
        "animated PNG": (saved(frames[0], "PNG", save_all=True, append_images=frames[1:]), True),
        "animated WebP": (saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]), True),
        "CMYK JPEG": (saved(drawn("CMYK"), "JPEG"), True),
        "16 bit PNG": (saved(Image.new("I;16", (60, 40), 30_000), "PNG"), True),
        "palette with alpha": (saved(drawn("P"), "PNG", transparency=0), True),
        "grey with alpha": (saved(drawn("LA"), "PNG"), True),
        "bomb in the pixels": (png_of(chunk(b"IDAT", bomb)), True),
        "bomb in a text": (saved(drawn(), "PNG", pnginfo=text), False),
        "no pixels": (png_of(), False),
        "size zero": (png_of(chunk(b"IDAT", rows), size=(0, 40)), False),
        "strange depth": (png_of(chunk(b"IDAT", rows), depth=7), False),
        "wrong sum": (png_of(chunk(b"IDAT", rows)[:-4] + b"\0\0\0\0"), True),  # decoders forgive it
        "long chunk": (png[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT", False),
        "BMP": (saved(drawn(), "BMP"), True),
        "TIFF": (saved(drawn(), "TIFF"), True),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(%stderr) (w) file", False),
        "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", False),
        "zip": (b"PK\x03\x04" + bytes(100), False),
        "text": (b"hello", False),
        "zeros": (bytes(1000), False),
    }


def fuzzed(dice: random.Random) -> bytes:
    """A picture with some bytes changed, cut, doubled or put in."""
    data = bytearray(dice.choice([d for d, _ in odd_pictures().values() if len(d) < 20_000]))
    for _ in range(dice.randint(0, 6)):
        place = dice.randrange(len(data)) if data else 0
        match dice.randrange(4):
            case 0 if data:
                data[place] = dice.randrange(256)
            case 1:
                del data[place : place + dice.randint(1, 50)]
            case 2:
                data[place:place] = dice.randbytes(dice.randint(1, 50))
            case _:
                data[place:place] = data[place : place + 100]
    return bytes(data)
