"""What crosses the jail's wall: a request as an open file, a reply as a header, a picture or trace, and a few words.

Guarantees: both sides check a reply by the same rule (`fits`), so nothing larger than the settings allow is read by
either; a program that writes a reply of its own can say what a program may say of itself, never that it ran out of
time or died.
"""

import struct

KINDS = ("", "syntax", "exception", "timeout", "memory", "no_figure", "too_large", "forbidden", "crashed")
OBSERVED = ("timeout", "crashed")  # seen from outside; no program says so of itself
REPLY = struct.Struct("!BIIII")  # kind, width, height, bytes of the picture or trace, bytes of the message
MAX_MESSAGE = 2000
MAX_SIDE = 16_384  # pixels of a picture in one direction: decoders refuse more than a million, and none is a drawing


def fits(kind: int, width: int, height: int, size: int, words: int, *, most: int, picture: bool) -> bool:
    """Whether a header announces what may follow it. `most`: pixels of a picture, else bytes of a trace."""
    if not (kind < len(KINDS) and words <= MAX_MESSAGE):
        return False
    if kind:
        return (width, height, size) == (0, 0, 0) and words > 0
    if picture:
        return (
            min(width, height) > 0
            and max(width, height) <= MAX_SIDE
            and width * height <= most >= size // 3
            and (size == 3 * width * height)
        )
    return (width, height) == (0, 0) and 0 < size <= most


def failure(kind: str, message: str) -> bytes:
    """The reply of a program that has no picture."""
    words = message.encode("utf-8", "replace")[:MAX_MESSAGE]
    return REPLY.pack(KINDS.index(kind), 0, 0, 0, len(words)) + words
