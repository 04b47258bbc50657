"""Pictures that come with the package: sets of a domain in one file, each with a manifest of what its pictures show.

Guarantees: the same pictures give the same file; it is unpacked once for each version of it.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from actors.files import beside, publish


def small(image: Image.Image) -> bytes:
    """A PNG with a palette of 64 colours: a third of the bytes, no difference to the eye."""
    out = io.BytesIO()
    image.quantize(64, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def unpack(file: Path, cache: Path) -> Path:
    """Folder under `cache` with the pictures of `file`, one folder a set, each with its manifest.jsonl."""
    name = file.stem.partition("_")[0]
    folder = cache / f"{name}-{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = beside(folder)
        with zipfile.ZipFile(file) as packed:
            packed.extractall(fresh)
        publish(fresh, folder)
    return folder


def write(
    path: Path, counts: Mapping[str, int], facts: Callable[[str, int], Any], picture: Callable[[str, int], bytes]
) -> None:
    """One zip with `counts[name]` pictures of every set; `facts` and `picture` take a set's name and a number."""
    with zipfile.ZipFile(path, "w") as out:  # members carry no date
        for name, count in counts.items():
            lines = []
            for index in range(count):
                out.writestr(zipfile.ZipInfo(f"{name}/{index:04d}.png"), picture(name, index))
                lines.append(json.dumps({"file": f"{index:04d}.png", **facts(name, index).facts}) + "\n")
            out.writestr(zipfile.ZipInfo(f"{name}/manifest.jsonl"), "".join(lines))
