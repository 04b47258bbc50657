"""The settled groups of a run on disk: RUN/ledger.jsonl, one entry a line.

Guarantees: the file only grows, but for a run that is resumed from an earlier checkpoint: what was written after that
is cut off. A group has one settled line; before it may stand lines of how it was when a checkpoint was written, and the
last line of a group counts. A last line without an end (its writer died) is none.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.replay.ledger import Entry, entry_of, plain

NAME = "ledger.jsonl"


class Torn(ValueError):
    """The archive is shorter than what a checkpoint relies on."""


def check(path: Path, length: int) -> None:
    """Raises Torn, one line, where `path` has fewer than `length` bytes."""
    there = path.stat().st_size if path.is_file() else 0
    if there < length:
        raise Torn(f"{path} has {there:,} bytes, the checkpoint relies on {length:,}: a part of the ledger is gone")


def cut(path: Path, length: int) -> None:
    """Leave the first `length` bytes: what was written after the snapshot that a queue goes on from. Raises Torn."""
    check(path, length)
    append(path, length, ())


def append(path: Path, length: int, entries: Iterable[Entry]) -> int:
    """Write entries after the first `length` bytes, in the place of what follows them; the new length. Raises OSError
    (a full disk), after which the first `length` bytes are as they were."""
    lines = "".join(json.dumps(plain(entry)) + "\n" for entry in entries).encode()
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(length)
        file.seek(length)
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    return length + len(lines)


def read(path: Path, length: int | None = None) -> Iterator[Entry]:
    """Every line of the file, of its first `length` bytes where given. Raises FileNotFoundError, ValueError (a line
    that is none)."""
    content = path.read_bytes()[:length]
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        yield entry_of(json.loads(line))
