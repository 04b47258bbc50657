"""Domains: what a policy may learn to write, each in one file here or in one of the user's, named by its path.

Guarantees: `find` gives the same object for the same name in every process; what is wrong with a file is one line. A
domain imports nothing of the project but `configs.domains.domain`. Code elsewhere asks a domain for what it needs and
names none; a test holds that.
"""

import functools
import importlib
import os
from pathlib import Path

from configs import outside
from configs.domains.domain import Domain
from configs.outside import Unusable as Unusable

FOLDER = Path(__file__).parent
DEFAULT = "chart"


def shipped() -> tuple[str, ...]:
    """Names of the domains that come with the package."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "domain")))


@functools.cache
def find(name: str) -> Domain:
    """The domain of a shipped name, or of a file that ends in .py and defines DOMAIN. Raises Unusable."""
    if name.endswith(".py"):
        found = getattr(outside.module(os.path.abspath(name)), "DOMAIN", None)
    elif name in shipped():
        found = importlib.import_module(f"configs.domains.{name}").DOMAIN
    else:
        raise Unusable(name, f"must be one of {', '.join(shipped())}, or a file that defines one (FILE.py)")
    if not isinstance(found, Domain):
        raise Unusable(name, "it defines no DOMAIN = Domain(...) of configs.domains.domain")
    return found


def by_ending(path: Path) -> str | None:
    """The shipped domain that a file's ending belongs to."""
    return next((name for name in shipped() if path.suffix.lower() in find(name).endings), None)


def by_media(content_type: str) -> str | None:
    """The shipped domain that a content type belongs to."""
    plain = content_type.split(";")[0].strip().lower()
    return next((name for name in shipped() if plain in find(name).media), None)


@functools.cache
def version(name: str) -> str:
    """What changes whenever the domain's file does."""
    path = name if name.endswith(".py") else str(FOLDER / f"{name}.py")
    return f"{find(name).name}-{outside.version(path)}"
