"""The text of a program or page, and its domain, from the bytes that people send.

Guarantees: a byte order mark is no part of the text; a page is read in the encoding that it declares, as a browser
does, and never refused for it; the domain follows the file's ending or the content type where nobody names it.
"""

import codecs
import io
import re
import tokenize
from collections.abc import Iterable
from pathlib import Path

from actors.contracts import Domain

ENDINGS: dict[str, Domain] = {".html": "web", ".htm": "web", ".xhtml": "web", ".py": "chart"}
TYPES: dict[str, Domain] = {
    "text/html": "web", "application/xhtml+xml": "web", "text/x-python": "chart", "application/x-python": "chart",
}  # fmt: skip
MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]{1,40})""", re.I)
PLAIN = "windows-1252"  # of pages that declare nothing and are not UTF-8; "latin-1" means it as well


def domain_of(path: Path) -> Domain | None:
    """By the file's ending."""
    return ENDINGS.get(path.suffix.lower())


def domain_of_type(content_type: str) -> Domain | None:
    """By the content type of a request."""
    return TYPES.get(content_type.split(";")[0].strip().lower())


def charset_of(content_type: str) -> str:
    found = re.search(r"""charset\s*=\s*["']?([\w:.-]{1,40})""", content_type, re.I)
    return found[1] if found else ""


def text_of(data: bytes, domain: Domain, charset: str = "") -> str:
    """`charset`: what came with the data, if anything. Raises UnicodeDecodeError for a program, SyntaxError for one
    that declares an encoding which does not exist."""
    for mark, name in MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(name, "strict" if domain == "chart" else "replace")
    if domain == "chart":
        return data.decode(known(charset) or tokenize.detect_encoding(io.BytesIO(data).readline)[0])
    declared = DECLARED.search(data[:4096])
    name = known(charset) or known(declared[1].decode("ascii") if declared else "")
    if name:
        return data.decode(name, "replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode(PLAIN, "replace")


def known(charset: str) -> str:
    """Its codec's name; empty for what is no encoding of texts."""
    try:
        found = codecs.lookup(charset)
    except LookupError:
        return ""
    if not getattr(found, "_is_text_encoding", True) or found.name.startswith(("utf-16", "utf-32", "idna", "punycode")):
        return "utf-8" if found.name.startswith("utf") else ""  # a page that can say so in bytes is not in UTF-16
    return PLAIN if found.name in ("iso8859-1", "ascii") else found.name


def names(paths: Iterable[Path]) -> list[str]:
    """A file name for the picture of each, in order: its stem, with a number where another input has the same."""
    found: list[str] = []
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        found.append(f"{name}.png")
    return found
