"""Files and folders that are there whole or not at all: what is there says that whoever wrote it was finished."""

import os
import shutil
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, or replace it, at one moment; several processes may do so at once."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    fresh.replace(path)


def beside(folder: Path) -> Path:
    """A new, empty folder of this process, in which `folder` is to be made."""
    fresh = folder.with_name(f".{folder.name}-{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    return fresh


def publish(fresh: Path, folder: Path) -> None:
    """Give a finished folder its name; where another process was first, that one's is as good."""
    try:
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(fresh)
