"""Does the policy use its feedback? The same first attempts, answered after the judge's own words, after none, and
after words that were said of another attempt.

Guarantees: a first attempt is sampled once and shared by all conditions, as tokens; nothing but the words differs (its
render is shown in all of them where `feedback.include_render` says so); the last turn is played, rendered and judged as
in a rollout; attempts that are no tool call are counted and left out, and with fewer than two there is no comparison.
"""

import asyncio
import json
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from actors.dialogue import Dialogue, parse_turn
from actors.images import read_image
from actors.rollout.episode import Environment, Rules, shown, words
from configs.load import ConfigError, load
from configs.schema import Config
from training.data.image_sets import ImageSet, training_and_evaluation
from training.evaluation.heldout import difference_ci95
from training.run.ray_env import set_environment

CONDITIONS = ("correct", "empty", "shuffled")
HISTORY = ("short_ids", "full_ids", "sampled", "logprobs", "versions", "images")  # lists of a Dialogue
AT_ONCE = 48


@dataclass(frozen=True)
class Attempt:
    """A first turn: its history, how its program did, and what is said of it."""

    session: str
    image: bytes
    dialogue: Dialogue
    ran: bool
    similarity: float
    feedback: str
    shown: bytes | None


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
        kind, code = await _say(dialogue, env, rules, session)
        if kind != "tool_call" or code is None:
            return None
        ran, similarity, feedback, picture = await _look(code, image, env, rules)
        return Attempt(session, image, dialogue, ran, similarity, feedback, picture)

    async def second(number: int, feedback: str) -> Second:
        attempt = attempts[number]
        history: dict[str, Any] = {name: list(getattr(attempt.dialogue, name)) for name in HISTORY}
        dialogue = replace(attempt.dialogue, **history)
        before = env.codec.decode([t for t, own in zip(dialogue.full_ids, dialogue.sampled, strict=True) if own])
        dialogue.add_feedback(feedback, attempt.shown, last=True)
        kind, code = await _say(dialogue, env, rules, attempt.session)
        if kind == "malformed" or code is None:
            return Second(False, 0.0, False)
        ran, similarity, *_ = await _look(code, attempt.image, env, rules)
        return Second(ran, similarity, code in before)

    tried = await _all([lambda p=p: first(p) for p in images.paths])  # type: ignore[misc]
    attempts: list[Attempt] = [a for a in tried if a is not None]
    if len(attempts) < 2:  # nothing to compare, which is a finding as well
        return summary([], {}, len(tried)) | {"tool_calls": len(attempts)}
    texts = {"correct": [a.feedback for a in attempts], "empty": [""] * len(attempts)}
    texts["shuffled"] = _shuffled(texts["correct"], seed)
    found: dict[str, list[Second]] = {}
    for condition in CONDITIONS:
        feedback = texts[condition]
        found[condition] = await _all([lambda n=n, t=t: second(n, t) for n, t in enumerate(feedback)])  # type: ignore[misc]
    return summary(attempts, found, len(tried))


def summary(attempts: Sequence[Attempt], found: dict[str, list[Second]], tried: int) -> dict[str, Any]:
    """Means by condition, apart for first attempts that ran and that failed, and the paired gain of the correct words
    over the others with its 95% interval."""
    result: dict[str, Any] = {"tried": tried, "tool_calls": len(attempts)}
    for name, wanted in (("first attempt ran", True), ("first attempt failed", False)):
        places = [n for n, a in enumerate(attempts) if a.ran == wanted]
        if not places:
            continue
        chosen = {c: [found[c][n] for n in places] for c in CONDITIONS}
        rows: dict[str, Any] = {"n": len(places), "similarity_before": fmean(attempts[n].similarity for n in places)}
        for condition, seconds in chosen.items():
            rows[condition] = {
                "runs": fmean(s.ran for s in seconds),
                "similarity": fmean(s.similarity for s in seconds),
                "repeated": fmean(s.repeated for s in seconds),
            }
        for other in ("empty", "shuffled"):
            for key in ("ran", "similarity"):
                pair = [[float(getattr(s, key)) for s in chosen[c]] for c in (other, "correct")]
                rows[f"correct - {other}: {key}"] = [round(v, 4) for v in difference_ci95(*pair)]
        result[name] = rows
    return result


async def _say(dialogue: Dialogue, env: Environment, rules: Rules, session: str) -> tuple[str, str | None]:
    room = min(rules.sampling.max_trajectory_tokens - len(dialogue.full_ids), rules.sampling.max_tokens)
    if room < 1:
        return "malformed", None
    sample = await env.policy.sample(dialogue.short_ids, dialogue.images, max_tokens=room, session=session)
    return parse_turn(dialogue.add_sampled(sample))


async def _look(code: str, target: bytes, env: Environment, rules: Rules) -> tuple[bool, float, str, bytes | None]:
    """Whether it ran, its similarity, and what would be said and shown of it."""
    render = await env.renderer.render(code, rules.domain)
    verdict = await env.judge.compare(target, render.png, rules.domain) if render.png is not None else None
    similarity = verdict.score if verdict is not None else 0.0
    return render.ok, similarity, words(render, verdict, rules.feedback.max_chars), shown(render, rules)


def _shuffled(texts: Sequence[str], seed: int) -> list[str]:
    """Every attempt gets what was said of another one: a random cycle through all of them."""
    cycle = list(range(len(texts)))
    random.Random(seed).shuffle(cycle)
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return [texts[following[n]] for n in range(len(texts))]


async def _all(jobs: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: Callable[[], Awaitable[Any]]) -> Any:
        async with gate:
            return await job()

    return list(await asyncio.gather(*(one(job) for job in jobs)))


def measure(config: Config, model: str, folder: Path, images: ImageSet) -> dict[str, Any]:
    """The study with `model` in an engine of its own. What engine and queue write goes into a passing folder within
    `folder`, which may be that of a run: its ledger stays as it is. Raises Outage."""
    import ray

    from actors.rollout.actor import rules_of
    from training.run.cluster import Cluster, connect, needed_cpus, needed_gpus

    try:
        connect(config, needed_cpus(config), needed_gpus(config))
        with (
            tempfile.TemporaryDirectory(prefix=".feedback_use-", dir=folder, ignore_cleanup_errors=True) as own,
            Cluster(config, Path(own), model, model, images.paths, None) as cluster,
        ):
            env = cluster.env(1.0)
            return asyncio.run(study(images, env, rules_of(config), config.run.seed, config.data.max_pixels))
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
