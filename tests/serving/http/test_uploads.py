"""Pictures from outside: what is readable is read, everything else is one line, whatever it is."""

import asyncio
import base64
import io
import random
import re
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from serving.http.errors import BadRequest
from serving.http.uploads import MOST, picture
from tests.serving.malformed import chunk, fuzzed, odd_pictures, png_of

LIMIT = 100_000


def read(value: str | bytes) -> Image.Image:
    return Image.open(io.BytesIO(asyncio.run(picture(value, "image", LIMIT))))


def test_base64_data_urls_and_bytes_are_one_picture(picture: Callable[..., bytes]) -> None:
    png = picture()
    text = base64.b64encode(png).decode()
    found = [read(value).tobytes() for value in (png, text, f"data:image/png;base64,{text}")]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", sorted(odd_pictures()))
def test_an_odd_picture_is_read_or_refused_in_one_line(name: str) -> None:
    data, readable = odd_pictures()[name]
    if readable:
        image = read(data)
        assert image.mode == "RGB" and image.width * image.height <= LIMIT and not image.info
        assert cv2.imdecode(np.frombuffer(asyncio.run(picture(data, "image", LIMIT)), np.uint8), 1) is not None
        return
    with pytest.raises(BadRequest) as refused:
        read(data)
    message = refused.value.message
    assert refused.value.status == 400 and "\n" not in message and not re.search("0x[0-9a-f]{6}|/home|/tmp", message)


@pytest.mark.parametrize("side", [1 << 13, 1 << 15])
def test_a_head_that_promises_too_much_is_not_decoded(side: int) -> None:
    with pytest.raises(BadRequest, match=f"at most {MOST // 10**6} million"):
        read(png_of(chunk(b"IDAT", b""), size=(side, side)))


def test_no_broken_file_raises_anything_else() -> None:
    seen = set()
    for seed in range(400):
        try:
            read(fuzzed(random.Random(seed)))
            seen.add("read")
        except BadRequest:
            seen.add("refused")
    assert seen == {"read", "refused"}


@pytest.mark.parametrize("text", ["http://x/y.png", "file:///etc/passwd", "data:image/png,abc", "!!", "data:;base64,é"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read(text)
