"""Pictures of a domain from its own examples, with the sources that draw them.

Guarantees: a picture depends on (domain, seed, split, index) alone and is drawn by the production renderer; no source
of `heldout` is one of `train`, by content; a folder is written whole or not at all. The reward never sees a source: it
is there for a supervised start (`python -m training.sft`) and for evaluation.
"""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from actors.files import beside, publish
from configs.domains import find, version
from configs.load import ConfigError
from configs.schema import Render, Sandbox

INDEX = "index.jsonl"  # {"image": file, "code": source}: what training.sft and the benchmark `pairs` read
Split = Literal["train", "heldout"]
TRIES = 200  # in a row that give nothing new: the domain has no more examples


def sources(domain: str, split: Split, count: int, seed: int) -> list[str]:
    """The first `count` different examples of a split. Raises ConfigError where the domain has too few."""
    found = dict.fromkeys(_endless(domain, split, count, seed))
    if len(found) < count:
        raise ConfigError(f"the domain {find(domain).name} has {len(found)} examples in {split}, not {count}")
    return list(found)


def _endless(domain: str, split: Split, count: int, seed: int) -> Iterator[str]:
    example = find(domain).example
    if example is None:
        raise ConfigError(f"the domain {find(domain).name} draws no examples: data.images=DIR")
    known: set[str] = set()
    number = wasted = 0
    while len(known) < count and wasted < TRIES:
        source = example(random.Random(f"{seed}/{split}/{number}"))
        number += 1
        if (random.Random(source).random() < 1 / 16) != (split == "heldout"):
            continue
        wasted = wasted + 1 if source in known else 0
        known.add(source)
        yield source


def write(root: Path, domain: str, split: Split, count: int, seed: int) -> Path:
    """The folder under `root` with NUMBER.png and INDEX, made once. Raises ConfigError, Outage."""
    folder = root / f"{version(domain)}-{split}-{count}-{seed}"
    if not (folder / INDEX).exists():
        asyncio.run(_write(folder, domain, sources(domain, split, count, seed)))
    return folder


async def _write(folder: Path, domain: str, texts: list[str]) -> None:
    from serving.render.sandbox import LAYERS
    from serving.render.service import Renders

    fresh = beside(folder)
    # sources of our own: a layer that this machine lacks is not missed, nor is a picture other without it
    renders = Renders(Render(cache_mb=0, sandbox=Sandbox(allow_missing=list(LAYERS))))
    try:
        with (fresh / INDEX).open("w") as index:
            for number, source in enumerate(texts):
                found = await renders.render(source, domain)
                if found.png is None:
                    raise ConfigError(f"example {number} of the domain is not drawn: {found.kind}: {found.message}")
                (fresh / f"{number:05d}.png").write_bytes(found.png)
                index.write(json.dumps({"image": f"{number:05d}.png", "code": source}) + "\n")
    finally:
        await renders.close()
    publish(fresh, folder)
