"""Tool turns for the supervised start: a first attempt, right or with one fault, and the judge's real feedback on it.

Guarantees: feedback comes from the renderer and the judge that rollouts use; a lesson depends on its picture and seed
alone; the file appears whole or not at all. Rebuild it when the judge's language changes.
"""

import asyncio
import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actors.contracts import RenderResult
from actors.files import write_whole
from actors.rollout.episode import words
from configs.schema import Render
from serving.judge.perceptual import compare
from training.base.pictures import rgb
from training.data.chart_looks import Look, drawing
from training.data.own_images import rendered
from training.data.synthetic_charts import COLOURS, KINDS, TITLES, Chart, chart

FAULTS = ("colour", "title", "value", "value", "kind", "length", "syntax")
BROKEN = ("length", "syntax")  # do not run
MAX_CHARS = 160
FILE = "lessons.jsonl"


def altered(found: Chart, fault: str, rng: random.Random, kinds: Sequence[str] = KINDS) -> Chart:
    """The chart with another colour, title, kind, value or number of values."""
    if fault == "colour":
        return replace(found, colour=rng.choice([c for c in COLOURS if c != found.colour]))
    if fault == "title":
        return replace(found, title=rng.choice([t for t in TITLES if t != found.title]))
    if fault == "kind":
        return replace(found, kind=rng.choice([k for k in kinds if k != found.kind]))
    values = list(found.values)
    if fault == "count":
        if len(values) > 2 and rng.random() < 0.6:
            del values[rng.randrange(len(values))]
        else:
            values.insert(rng.randrange(len(values) + 1), rng.randint(1, 9))
    else:
        place = rng.randrange(len(values))
        values[place] = rng.choice([v for v in range(1, 10) if v != values[place]])
    return replace(found, values=tuple(values))


def broken(found: Chart, fault: str, rng: random.Random) -> str:
    """The chart's program with a fault that keeps it from running."""
    if fault == "length":
        shorter = (r",\d\],\[", "],["), (r"\],\[\d,", "],[")
        return re.sub(*rng.choice(shorter), found.program, count=1)
    return found.program.replace(*rng.choice((("]", ""), ("')", "'"))), 1)


def faulty(found: Chart, kinds: tuple[str, ...], rng: random.Random) -> str:
    """The chart's program with one fault that a weak policy makes."""
    fault = rng.choice(FAULTS)
    return broken(found, fault, rng) if fault in BROKEN else altered(found, fault, rng, kinds).program


def make(folder: Path, kinds: tuple[str, ...], looks: tuple[Look, ...], count: int, seed: int) -> None:
    """lessons.jsonl: for the first `count` charts of every kind and look a right and a faulty first attempt."""
    lessons, failed = [], []
    for kind in kinds:
        for look in looks:
            for index in range(count):
                found = chart(kind, look, index, seed, "train")
                target = rgb(drawing(found, look, index, seed))
                rng = random.Random(f"{seed}/lesson/{kind}/{look}/{index}")
                for form, attempt in (("tool", found.program), ("repair", faulty(found, kinds, rng))):
                    lesson = {"kind": kind, "look": look, "index": index, "form": form, "attempt": attempt}
                    lessons.append(lesson)
                    try:
                        render = rgb(attempt)
                    except Exception:
                        failed.append(lesson)
                        continue
                    lesson["feedback"] = compare(target, render).feedback[:MAX_CHARS]
    attempts = [str(x["attempt"]) for x in failed]
    results: list[RenderResult] = asyncio.run(rendered(attempts, "chart", Render(concurrency=1)))
    for lesson, result in zip(failed, results, strict=True):
        assert not result.ok, lesson
        lesson["feedback"] = words(result, None, MAX_CHARS)
    write_whole(folder / FILE, "".join(json.dumps(x) + "\n" for x in lessons))
