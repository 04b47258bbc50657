"""One program, from its text to its picture or a few words, in the process that it has for itself.

Guarantees: whatever the program raises becomes a reply; the text may begin with a byte order mark. Runs after the jail
has closed.
"""

import contextlib
import mmap
from typing import NamedTuple

from serving.jailed.capture import Capture, TooLarge
from serving.jailed.hints import PROGRAM, describe, failure_of


class Answer(NamedTuple):
    """`kind` "" with a picture (width, height, RGB rows) or a trace (0, 0, bytes); else how it failed."""

    kind: str
    width: int = 0
    height: int = 0
    body: bytes = b""
    message: str = ""


def run(source: str, max_pixels: int) -> Answer:
    """Run one program and take its picture."""
    reserve = mmap.mmap(-1, 4 * 2**20)  # address space given back when memory ran out, for the few words about it
    source = source.removeprefix("\ufeff")
    capture = Capture(max_pixels, source)
    try:
        code = compile(source, PROGRAM, "exec", dont_inherit=True)
    except MemoryError:
        return Answer("memory", message="the program is too deeply nested to compile")
    except (SyntaxError, ValueError, RecursionError) as error:
        return Answer("syntax", message=describe(error, source))
    try:
        with contextlib.suppress(SystemExit):
            exec(code, {"__name__": "__main__", "__builtins__": __builtins__})
        capture.end()
    except TooLarge as error:
        return Answer("too_large", message=str(error.args[0]))
    except MemoryError as error:
        error.__traceback__ = None
        reserve.close()
        return Answer("memory", message="MemoryError: the program ran out of memory")
    except BaseException as error:
        kind, words = failure_of(error, source)
        return Answer(kind, message=words)
    if capture.picture is None:
        return Answer(
            "no_figure", message="the program ends without a figure: none was drawn with matplotlib.pyplot or saved"
        )
    return Answer("", *capture.picture, "; ".join(capture.notes))
