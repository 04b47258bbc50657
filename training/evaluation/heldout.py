"""A run's own evaluation: one image, one answer, no tool, as in the paper; every image counts.

Guarantees: the denominator is the number of images asked for; a program that does not run scores 0; an outage is
retried and then raises, it is never counted as a score. Kind and words are read from the *program's* text where the
set says what was drawn; they are reported beside the similarity and never trained on.
"""

import asyncio
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.contracts import Outage
from actors.files import write_whole
from actors.images import read_image
from actors.rollout.actor import play_member, rules_of
from actors.rollout.episode import Environment, Rules
from actors.trajectory import Trajectory
from configs.schema import Config
from training.data.image_sets import ImageSet


@dataclass(frozen=True)
class Row:
    """One image's result. `kind_right` and `words_right` are None where the set does not say what was drawn."""

    path: str
    executed: bool
    similarity: float
    code: str | None
    png: bytes | None
    kind_right: bool | None
    words_right: bool | None
    tokens: int


@dataclass(frozen=True)
class Scores:
    """Means over a set, all in 0..1; `n` images."""

    n: int
    exec_rate: float
    similarity: float
    type_accuracy: float | None
    text_accuracy: float | None


async def evaluate(
    images: ImageSet,
    env: Environment,
    rules: Rules,
    *,
    label: str,
    concurrency: int = 64,
    max_pixels: int = 1_003_520,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Rows in the order of `images`. Raises Outage when an image stays without an answer."""
    direct = replace(rules, rollout=replace(rules.rollout, single_turn=True))
    gate = asyncio.Semaphore(concurrency)
    finished = 0

    async def one(index: int) -> Row:
        nonlocal finished
        path = images.paths[index]
        async with gate:
            image = await asyncio.to_thread(read_image, path, max_pixels)
            played = await play_member(image, env, direct, f"{label}.{index}")
        if isinstance(played, str):
            raise Outage(played, f"no evaluation of {path} after {rules.rollout.retries} retries")
        finished += 1
        progress(finished, len(images.paths))
        return row_of(path, played, images.facts[index] if images.facts else None)

    return list(await asyncio.gather(*(one(i) for i in range(len(images.paths)))))


def row_of(path: str, played: Trajectory, facts: dict[str, Any] | None) -> Row:
    """What one answer came to. `facts`: kind and title of the drawn target."""
    turn = played.turns[-1] if played.turns else None
    executed = turn is not None and turn.render is not None and turn.render.ok
    kind_right = words_right = None
    if facts is not None:
        from training.data.synthetic_charts import attributes

        found = attributes(turn.code) if turn is not None and turn.code is not None and executed else None
        kind_right = found is not None and found.kind == facts["kind"]
        words_right = found is not None and found.title == facts["title"]
    return Row(
        path=path,
        executed=executed,
        similarity=played.reward.vision,
        code=turn.code if turn is not None else None,
        png=turn.render.png if turn is not None and turn.render is not None else None,
        kind_right=kind_right,
        words_right=words_right,
        tokens=sum(played.sampled),
    )


def evaluate_sets(
    config: Config,
    env: Callable[[float], Environment],
    sets: Sequence[ImageSet],
    kept: Path,
    say: Callable[[str], None],
) -> dict[str, dict[str, list[Row]]]:
    """Rows of every set, `sampled` at temperature 1 and `greedy`, also written to `kept`. `env`: by temperature."""
    found: dict[str, dict[str, list[Row]]] = {}
    for images in sets:
        found[images.name] = {}
        for mode, temperature in (("sampled", 1.0), ("greedy", 0.0)):
            say(f"evaluating {images.name}, {mode}, {len(images.paths)} images")
            found[images.name][mode] = asyncio.run(
                evaluate(
                    images,
                    env(temperature),
                    rules_of(config),
                    label=f"{kept.stem}.{images.name}.{mode}",
                    max_pixels=config.data.max_pixels,
                )
            )
    write_whole(kept, pickle.dumps(found))  # the file says that the measurement is done
    return found


def scores(rows: list[Row]) -> Scores:
    """Means of a non-empty list of rows."""

    def share(values: list[bool | None]) -> float | None:
        known = [v for v in values if v is not None]
        return fmean(known) if known else None

    return Scores(
        n=len(rows),
        exec_rate=fmean(r.executed for r in rows),
        similarity=fmean(r.similarity for r in rows),
        type_accuracy=share([r.kind_right for r in rows]),
        text_accuracy=share([r.words_right for r in rows]),
    )


def difference_ci95(before: list[float], after: list[float]) -> tuple[float, float, float]:
    """Paired mean difference and its 95% interval (normal approximation: mean +- 1.96 standard errors)."""
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    mean = fmean(gaps)
    spread = (sum((g - mean) ** 2 for g in gaps) / max(1, len(gaps) - 1)) ** 0.5
    half = 1.96 * spread / len(gaps) ** 0.5
    return mean, mean - half, mean + half
