"""The text of a program or page, and its domain, from the bytes that people send.

Guarantees: a byte order mark is no part of the text; the domain says how its files are read, and follows the file's
ending or the content type where nobody names it.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from actors.contracts import Domain
from configs import domains
from configs.domains.domain import encoding


def domain_of(path: Path) -> Domain | None:
    """By the file's ending."""
    return domains.by_ending(path)


def domain_of_type(content_type: str) -> Domain | None:
    """By the content type of a request."""
    return domains.by_media(content_type)


def charset_of(content_type: str) -> str:
    found = re.search(r"""charset\s*=\s*["']?([\w:.-]{1,40})""", content_type, re.I)
    return found[1] if found else ""


def text_of(data: bytes, domain: Domain, charset: str = "") -> str:
    """`charset`: what came with the data, if anything. Raises UnicodeDecodeError, or SyntaxError for a program that
    declares an encoding which does not exist."""
    return domains.find(domain).read(data, encoding(charset))


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
