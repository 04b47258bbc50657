"""What a domain is: everything that tells charts from pages, or from whatever else is written as text and drawn.

Guarantees: plain data and pure functions of texts, so that every process may load a domain; nothing in it draws. A
domain is drawn in one of two places that are safe for foreign text: a Matplotlib program in the jail, or a page in the
browser. `written` turns an answer into one of the two.
"""

import codecs
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

PLAIN = "windows-1252"  # of pages that declare nothing and are not UTF-8; "latin-1" means it as well


class Refused(ValueError):
    """A domain does not draw this source; the message tells its writer why. Any ValueError of `written` is the same."""


@dataclass(frozen=True)
class Look:
    """How the perceptual judge measures pictures (serving.judge.perceptual.score tells what the terms are).

    `way`: "plot" looks for plotting areas, lays one on the other and compares marks, values and words; "page" compares
    places as they are. `weights` of the terms; `chance`, the value of each between unrelated pictures; `full`, the
    value of each that counts as all of it. `canvas`: pixels of the canvas on which pictures are compared. `blank`:
    share of inked pixels below which a render is empty.
    """

    way: Literal["plot", "page"] = "page"
    weights: Mapping[str, float] = field(
        default_factory=lambda: {"ink": 0.3, "edges": 0.3, "palette": 0.3, "text": 0.1}
    )
    chance: Mapping[str, float] = field(
        default_factory=lambda: {"ink": 0.25, "edges": 0.3, "palette": 0.4, "text": 0.25}
    )
    full: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(("ink", "edges", "palette", "text"), 1.0))
    canvas: int = 120_000
    blank: float = 4e-4


@dataclass(frozen=True)
class Question:
    """What a vision-language judge is asked, and the marks it gives: name -> weight."""

    instructions: str
    marks: Mapping[str, int]


@dataclass(frozen=True)
class Texts:
    """The domain's own prompts; each stands where `prompts` has none."""

    system: str = ""
    direct_system: str = ""
    user: str = ""


def encoding(charset: str) -> str:
    """Its codec's name; empty for what is no encoding of texts."""
    try:
        found = codecs.lookup(charset)
    except LookupError:
        return ""
    no_text = ("utf-16", "utf-32", "idna", "punycode", "undefined")
    if not getattr(found, "_is_text_encoding", True) or found.name.startswith(no_text):
        return "utf-8" if found.name.startswith("utf") else ""  # a page that can say so in bytes is not in UTF-16
    return PLAIN if found.name in ("iso8859-1", "ascii") else found.name


def utf8(data: bytes, charset: str = "") -> str:
    """Bytes as text; a byte order mark is no part of it. Raises UnicodeDecodeError."""
    return data.decode("utf-8-sig")


def document(text: str, name: str, declarations: tuple[str, ...]) -> str | None:
    """From the comments and `declarations` (in their order) before a root element of that name to its end or the
    text's, or None. A root within a comment counts only where there is no other. One way through the text and one
    back: one pattern for all of it takes time by the square of a text that begins often and never comes to the root."""
    root = re.compile(rf"<{name}\b", re.I)
    first = found = root.search(text)
    comments: list[tuple[int, int]] = []
    at = 0
    while found:
        start = text.find("<!--", at, found.start())
        end = text.find("-->", start + 4) if start >= 0 else -1
        if end < 0:
            break
        at = end + 3
        comments.append((start, at))
        if at > found.start():
            found = root.search(text, at)
    if first is None:
        return None
    if found is None:
        found, comments = first, []
    shut = re.compile(rf"</{name}\s*>", re.I).search(text, found.end())
    last = shut.end() if shut else len(text)
    at = found.start()
    while comments and _blank(text, at) == comments[-1][1]:
        at = comments.pop()[0]
    for declared in reversed(declarations):
        end = _blank(text, at)
        start = text.rfind("<", 0, end)
        if start >= 0 and text[start:end].lower().startswith(declared) and text.find(">", start) == end - 1:
            at = start
    return text[at:last].rstrip()


def _blank(text: str, at: int) -> int:
    """Where the white space begins that ends at `at`."""
    while at > 0 and text[at - 1].isspace():
        at -= 1
    return at


def nothing(text: str) -> str | None:
    """No source stands in a text without a fence."""
    return None


@dataclass(frozen=True)
class Domain:
    """One domain.

    `drawn`: where (see above). `written(source)`: the program or page that draws a source; None where the source is
    one. It runs outside the jail on foreign text: no parsing beyond a search. Raises ValueError for a source that is
    not drawn. `languages`: names of a fenced block that holds a source. `bare(text)`: the source in a text without a
    fence, or None. `read(data, charset)`: text of a file. `request`: what a general model is asked for, with {width}
    and {height} of the picture. `example(rng)`: one source, for data.images=drawn. `restyled(source, rng)`: the
    source of an example in a look that the supervised start never saw; a run's pictures show it.
    """

    name: str
    about: str
    drawn: Literal["program", "browser"]
    languages: frozenset[str]
    request: str
    question: Question
    look: Look = field(default_factory=Look)
    written: Callable[[str], str] | None = None
    bare: Callable[[str], str | None] = nothing
    read: Callable[[bytes, str], str] = utf8
    endings: tuple[str, ...] = ()
    media: tuple[str, ...] = ()
    texts: Texts = Texts()
    example: Callable[[Random], str] | None = None
    restyled: Callable[[str, Random], str] | None = None
    shipped_pictures: bool = False  # data.images=drawn takes the package's own set

    def __post_init__(self) -> None:
        terms = ({"ink", "edges", "palette", "text"}, {"data", "values", "kind"})
        known = terms[0] | terms[1] if self.look.way == "plot" else terms[0]
        for part in ("weights", "chance", "full"):
            given = set(getattr(self.look, part))
            if given != known:
                raise ValueError(
                    f"look.{part} names {', '.join(sorted(given))}; it must name {', '.join(sorted(known))}"
                )
            for term, value in getattr(self.look, part).items():
                if not 0 <= value <= 1:  # NaN is neither
                    raise ValueError(f"look.{part}: {term} is {value}; a number from 0 to 1")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", self.name):
            raise ValueError(f"name {self.name!r}: small letters, digits and _")
        if self.drawn not in ("program", "browser"):
            raise ValueError(f"drawn {self.drawn!r}: program or browser")
        if not self.question.marks or not all(0 < weight < math.inf for weight in self.question.marks.values()):
            raise ValueError("question.marks must name marks with positive weights")
