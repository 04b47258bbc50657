"""A run's own evaluation: one image, one answer, no tool, as in the paper; every image counts.

Guarantees: the denominator is the number of images asked for; a program that does not run scores 0; an outage is
retried and then raises, it is never counted as a score. Where the set says what was drawn, its attributes
are read from the *program's* text; they are reported beside the similarity and never trained on. Every answer is
also scored against another picture's facts: what a policy that does not look would get.
"""

import asyncio
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.contracts import Outage
from actors.files import write_whole
from actors.images import read_image
from actors.rollout.actor import play_member, rules_of
from actors.rollout.episode import Environment, Rules
from actors.rollout.unforeseen import Unforeseen
from actors.trajectory import Trajectory
from configs.schema import Config
from training.data.image_sets import ImageSet
from training.data.labels import Labels, labels_of

MODES = {"sampled": 1.0, "greedy": 0.0}  # temperatures at which a run measures itself


@dataclass(frozen=True)
class Row:
    """One image's result. `read` has each attribute right or wrong, `chance` against the facts of the next picture;
    both are empty where the set does not say what was drawn."""

    path: str
    executed: bool
    similarity: float
    text: str
    code: str | None
    png: bytes | None
    tokens: int
    read: dict[str, float]
    chance: dict[str, float]


Evaluation = dict[str, dict[str, list[Row]]]  # set -> mode -> rows


@dataclass(frozen=True)
class Scores:
    """Means over a set, all in 0..1; `n` images."""

    n: int
    exec_rate: float
    similarity: float
    read: dict[str, float]  # of each attribute; empty where the set does not say what was drawn
    chance: dict[str, float]


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
    finished, unforeseen = 0, Unforeseen()

    async def one(index: int) -> Row:
        nonlocal finished
        path = images.paths[index]
        async with gate:
            image = await asyncio.to_thread(read_image, path, max_pixels)
            played = await play_member(image, env, direct, f"{label}.{index}", unforeseen)
        if isinstance(played, str):
            why = "; ".join(unforeseen.lines())
            raise Outage(played, f"no evaluation of {path} after {rules.rollout.retries} retries; {why}")
        finished += 1
        progress(finished, len(images.paths))
        around = [images.facts[i % len(images.facts)] for i in (index, index + 1)] if images.facts else []
        labels = labels_of(images.domain) if around else None
        return row_of(path, played, around, labels)

    return list(await asyncio.gather(*(one(i) for i in range(len(images.paths)))))


def row_of(path: str, played: Trajectory, shown: Sequence[dict[str, Any]], labels: Labels | None) -> Row:
    """What one answer came to. `shown`: facts of its target and of another, which `labels` can read, or nothing where
    they are not known."""
    turn = played.turns[-1] if played.turns else None
    executed = turn is not None and turn.render is not None and turn.render.ok
    read: dict[str, float] = {}
    chance: dict[str, float] = {}
    if labels is not None:
        found = labels.attributes(turn.code) if turn is not None and turn.code is not None and executed else None
        read, chance = (labels.hits(labels.shown_by(facts), found) for facts in shown)
    return Row(
        path=path,
        executed=executed,
        similarity=played.similarity,
        text=turn.text if turn is not None else "",
        code=turn.code if turn is not None else None,
        png=turn.render.png if turn is not None and turn.render is not None else None,
        tokens=sum(played.sampled),
        read=read,
        chance=chance,
    )


def evaluate_sets(
    config: Config,
    env: Callable[[float], Environment],
    sets: Sequence[ImageSet],
    kept: Path,
    say: Callable[[str], None],
    modes: Mapping[str, float] = MODES,
) -> Evaluation:
    """Rows of every set at each temperature of `modes`, also written to `kept`. `env`: by temperature."""
    found: Evaluation = {}
    for images in sets:
        found[images.name] = {}
        for mode, temperature in modes.items():
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
    return Scores(
        n=len(rows),
        exec_rate=fmean(r.executed for r in rows),
        similarity=fmean(r.similarity for r in rows),
        read={name: fmean(r.read[name] for r in rows) for name in rows[0].read},
        chance={name: fmean(r.chance[name] for r in rows) for name in rows[0].chance},
    )


def difference_ci95(before: list[float], after: list[float]) -> tuple[float, float, float]:
    """Paired mean difference and its 95% interval (normal approximation: mean +- 1.96 standard errors)."""
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    mean = fmean(gaps)
    spread = (sum((g - mean) ** 2 for g in gaps) / max(1, len(gaps) - 1)) ** 0.5
    half = 1.96 * spread / len(gaps) ** 0.5
    return mean, mean - half, mean + half
