"""Does the policy use its feedback? Three studies on held-out pictures.

Repairs of one injected fault (`training.evaluation.turns.repair`); episodes against as many independent answers
(`renders`), with copies, first turns and gain a call apart; and the policy's own first attempts, answered after the
judge's feedback, after none, and after feedback on another attempt.

Guarantees of the last: a first attempt is sampled once and shared by all conditions, as tokens; nothing but the
feedback differs (its render is shown in all of them where `feedback.include_render` says so); the last turn is played,
rendered and judged as in a rollout; attempts that are no tool call are counted and left out, and with fewer than two
there is no comparison. Repairs are sampled greedily, the rest at temperature 1.
"""

import asyncio
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.dialogue import Dialogue
from actors.images import read_image
from actors.rollout.episode import Environment, Rules
from configs.load import ConfigError, load
from configs.schema import Config
from training.data.image_sets import ImageSet, training_and_evaluation
from training.evaluation.paired import difference
from training.evaluation.turns.renders import against_best, episodes
from training.evaluation.turns.repair import repairs
from training.evaluation.turns.second import Looked, answered, exchanged, gathered, look, say
from training.run.ray_env import set_environment
from training.run.turn_figures import turn_figures

CONDITIONS = ("correct", "empty", "shuffled")


@dataclass(frozen=True)
class Attempt:
    """A first turn: its history, how its program did, and the feedback on it."""

    session: str
    image: bytes
    dialogue: Dialogue
    came: Looked


@dataclass(frozen=True)
class Second:
    """A second turn after one condition's words."""

    ran: bool
    similarity: float
    repeated: bool  # the same program again


async def study(images: ImageSet, env: Environment, rules: Rules, seed: int, max_pixels: int) -> dict[str, Any]:
    """The result as plain data: counts, and for each condition and kind of first attempt what came of it."""

    async def first(path: str) -> Attempt | None:
        image = await asyncio.to_thread(read_image, path, max_pixels)
        dialogue = Dialogue.start(env.codec, image)
        session = f"feedback.{path}"
        kind, code = await say(dialogue, env, rules, session)
        if kind != "tool_call" or code is None:
            return None
        return Attempt(session, image, dialogue, await look(code, image, env, rules))

    async def second(number: int, feedback: str) -> Second:
        attempt = attempts[number]
        history = attempt.dialogue
        before = env.codec.decode([t for t, own in zip(history.full_ids, history.sampled, strict=True) if own])
        code = await answered(history, feedback, attempt.came.shown, env, rules, attempt.session)
        if code is None:
            return Second(False, 0.0, False)
        found = await look(code, attempt.image, env, rules)
        return Second(found.ran, found.similarity, code in before)

    tried = await gathered([lambda p=p: first(p) for p in images.paths])  # type: ignore[misc]
    attempts: list[Attempt] = [a for a in tried if a is not None]
    if len(attempts) < 2:  # nothing to compare, which is a finding as well
        return summary([], {}, len(tried)) | {"tool_calls": len(attempts)}
    texts = {"correct": [a.came.feedback for a in attempts], "empty": [""] * len(attempts)}
    texts["shuffled"] = exchanged(texts["correct"], seed)
    found: dict[str, list[Second]] = {}
    for condition in CONDITIONS:
        feedback = texts[condition]
        found[condition] = await gathered([lambda n=n, t=t: second(n, t) for n, t in enumerate(feedback)])  # type: ignore[misc]
    return summary(attempts, found, len(tried))


def summary(attempts: Sequence[Attempt], found: dict[str, list[Second]], tried: int) -> dict[str, Any]:
    """Means by condition, apart for first attempts that ran and that failed, and the paired gain of the correct words
    over the others with its 95% interval."""
    result: dict[str, Any] = {"tried": tried, "tool_calls": len(attempts)}
    for name, wanted in (("first attempt ran", True), ("first attempt failed", False)):
        places = [n for n, a in enumerate(attempts) if a.came.ran == wanted]
        if not places:
            continue
        chosen = {c: [found[c][n] for n in places] for c in CONDITIONS}
        rows: dict[str, Any] = {
            "n": len(places),
            "similarity_before": fmean(attempts[n].came.similarity for n in places),
        }
        for condition, seconds in chosen.items():
            rows[condition] = {
                "runs": fmean(s.ran for s in seconds),
                "similarity": fmean(s.similarity for s in seconds),
                "repeated": fmean(s.repeated for s in seconds),
            }
        for other in ("empty", "shuffled"):
            for key in ("ran", "similarity"):
                pair = [[[float(getattr(s, key)) for s in chosen[c]]] for c in ("correct", other)]
                rows[f"correct - {other}: {key}"] = [round(v, 4) for v in difference(*pair)]
        result[name] = rows
    return result


async def studies(
    images: ImageSet, sampled: Environment, greedy: Environment, rules: Rules, seed: int, max_pixels: int
) -> dict[str, Any]:
    """The three studies as plain data. Raises Outage."""
    played = await episodes(images, sampled, rules, max_pixels)
    figures = turn_figures([episode for episode, _ in played])
    return {
        "repair": await repairs(images, greedy, rules, seed, max_pixels),
        "turns": against_best(played) | {k: None if math.isnan(v) else v for k, v in figures.items()},
        "own attempts": await study(images, sampled, rules, seed, max_pixels),
    }


def measure(config: Config, model: str, folder: Path, images: ImageSet) -> dict[str, Any]:
    """The three studies with `model` in an engine of its own. What engine and queue write goes into a passing folder
    within `folder`, which may be that of a run: its ledger stays as it is. Raises Outage."""
    import ray

    from actors.rollout.actor import rules_of
    from training.run.cluster import Cluster, join
    from training.run.nodes.room import wait_for_room

    try:
        join(config)
        turn = wait_for_room(config, print)
        with (
            tempfile.TemporaryDirectory(prefix=".feedback_use-", dir=folder, ignore_cleanup_errors=True) as own,
            Cluster(config, Path(own), model, model, images.paths, None) as cluster,
        ):
            turn.release()
            sides = cluster.env(1.0), cluster.env(0.0)
            return asyncio.run(studies(images, *sides, rules_of(config), config.run.seed, config.data.max_pixels))
    finally:
        ray.shutdown()


def report(file: str, overrides: Sequence[str], model: Path, count: int, out: Path | None) -> None:
    """Measure the policy in `model` on at most `count` held-out images, and write the result to `out` or print it.
    Raises ConfigError, Outage, OSError."""
    set_environment()
    config = load(file, overrides)
    if not (model / "config.json").is_file():
        raise ConfigError(f"--model {model}: no model there (it has no config.json)")
    from training.jobs.train import CACHE

    held = training_and_evaluation(config, CACHE)[1]
    if not held:
        raise ConfigError("no held-out images")
    folder = (out or Path("feedback_use.json")).parent
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(config, str(model.resolve()), folder.resolve(), held[0].head(count))
    text = json.dumps({"model": str(model), **found}, indent=2)
    out.write_text(text + "\n") if out else print(text)
