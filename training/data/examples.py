"""Pictures of a domain from its own examples, with the sources that draw them.

Guarantees: a picture depends on (domain, seed, split, index) alone and is drawn by the production renderer; no source
of `heldout` is one of `train`, by content; a folder is written whole or not at all. The reward never sees a source: it
is there for a supervised start (`python -m training.sft`) and for evaluation. A lesson shows a first attempt, right or
with one fault, and the judge's real feedback on it; a fault is shown and not taught. `restyled` pictures show the same
sources in the look that a domain keeps for its runs.
"""

import asyncio
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from actors.files import beside, publish
from configs.domains import find, version
from configs.load import ConfigError
from configs.schema import Render
from training.data.own_images import trusting

INDEX = "index.jsonl"  # {"image": file, "code": source}: what training.sft and the benchmark `pairs` read
Split = Literal["train", "heldout"]
LESSONS = "lessons.jsonl"  # the same pairs, and dialogues with a call of the tool, as training.sft reads them
TRIES = 200  # in a row that give nothing new: the domain has no more examples


def sources(domain: str, split: Split, count: int, seed: int) -> list[str]:
    """The first `count` different examples of a split, or all that the domain has. Raises ConfigError where there is
    none."""
    found = list(dict.fromkeys(_endless(domain, split, count, seed)))
    if not found:
        raise ConfigError(f"the domain {find(domain).name} has no example in {split}: data.images=DIR")
    return found


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


def write(
    root: Path,
    domain: str,
    split: Split,
    count: int,
    seed: int,
    lessons: int = 0,
    max_chars: int = 160,
    restyled: bool = False,
) -> Path:
    """The folder under `root` with NUMBER.png and INDEX, made once; with `lessons`, the first so many examples as tool
    dialogues in LESSONS, whose feedback has at most `max_chars` characters. Raises ConfigError, Outage."""
    restyle = find(domain).restyled if restyled else None
    parts = (version(domain), split, count, seed, *([lessons] if lessons else ()), *(["restyled"] if restyle else ()))
    folder = root / "-".join(map(str, parts))
    if not (folder / INDEX).exists():
        texts = sources(domain, split, count, seed)
        # another seed than that which chooses the split: the two sets would else have other looks
        shown = [restyle(text, random.Random(f"restyled {text}")) if restyle else text for text in texts]
        asyncio.run(_write(folder, domain, texts, shown, lessons, max_chars))
    return folder


async def _write(folder: Path, domain: str, texts: list[str], shown: list[str], lessons: int, max_chars: int) -> None:
    fresh = beside(folder)
    renders = trusting(Render())
    pairs, dialogues = [], []
    try:
        for number, (source, look) in enumerate(zip(texts, shown, strict=True)):
            found = await renders.render(look, domain)
            if found.png is None:
                raise ConfigError(f"example {number} of the domain is not drawn: {found.kind}: {found.message}")
            image = f"{number:05d}.png"
            (fresh / image).write_bytes(found.png)
            pairs.append({"image": image, "code": source})
            if number < lessons:
                turns = await _lesson(renders, source, found.png, domain, max_chars)
                dialogues.append({"image": image, "turns": turns})
    finally:
        await renders.close()
    (fresh / INDEX).write_text("".join(json.dumps(row) + "\n" for row in pairs))
    if lessons:
        (fresh / LESSONS).write_text("".join(json.dumps(row) + "\n" for row in pairs + dialogues))
    publish(fresh, folder)


async def _lesson(renders: Any, source: str, target: bytes, domain: str, max_chars: int) -> list[dict[str, Any]]:
    from actors.rollout.episode import words
    from serving.judge.perceptual import compare

    attempt = faulty(source, random.Random(source))
    found = await renders.render(attempt, domain)
    verdict = None if found.png is None else compare(target, found.png, domain)
    first = {
        "text": f"<think></think><tool_call>\n{attempt}</tool_call>",
        "feedback": words(found, verdict, max_chars),
        "taught": attempt == source,
    }
    return [first, {"text": f"<think></think><answer>\n{source}</answer>"}]


def faulty(source: str, rng: random.Random) -> str:
    """The source in two of five cases, else with another digit or without one character: what a weak policy writes."""
    digits = [place.start() for place in re.finditer(r"\d", source)]
    dice = rng.random()
    if dice < 0.4:
        return source
    if digits and dice < 0.9:
        place = rng.choice(digits)
        other = rng.choice([digit for digit in "0123456789" if digit != source[place]])
        return source[:place] + other + source[place + 1 :]
    place = rng.randrange(len(source))
    return source[:place] + source[place + 1 :]
