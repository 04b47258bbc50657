"""One more turn on a given history: how it is sampled, drawn and judged, for everything that compares second turns.

Guarantees: the turn is sampled, rendered and judged as in a rollout; the history that is given stays as it is, so any
number of second turns may start from it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from actors.dialogue import Dialogue, parse_turn
from actors.rollout.episode import Environment, Rules, shown, words

AT_ONCE = 48


@dataclass(frozen=True)
class Looked:
    """What became of a program: its feedback and its picture included."""

    ran: bool
    similarity: float
    feedback: str
    shown: bytes | None


async def say(dialogue: Dialogue, env: Environment, rules: Rules, session: str) -> tuple[str, str | None]:
    """Kind and code of one sampled turn, which is appended to `dialogue`; malformed where it has no room."""
    room = min(rules.sampling.max_trajectory_tokens - len(dialogue.full_ids), rules.sampling.max_tokens)
    if room < 1:
        return "malformed", None
    sample = await env.policy.sample(dialogue.short_ids, dialogue.images, max_tokens=room, session=session)
    return parse_turn(dialogue.add_sampled(sample))


async def look(code: str, target: bytes, env: Environment, rules: Rules) -> Looked:
    """Render and judge a program."""
    render = await env.renderer.render(code, rules.domain)
    verdict = await env.judge.compare(target, render.png, rules.domain) if render.png is not None else None
    similarity = verdict.score if verdict is not None else 0.0
    feedback = words(render, verdict, rules.feedback.max_chars)
    return Looked(render.ok, similarity, feedback, shown(render, rules))


async def answered(
    history: Dialogue, feedback: str, picture: bytes | None, env: Environment, rules: Rules, session: str
) -> str | None:
    """The program of the last turn that follows `feedback`; None where the turn has none."""
    dialogue = history.copy()
    dialogue.add_feedback(feedback, picture, last=True)
    kind, code = await say(dialogue, env, rules, session)
    return None if kind == "malformed" else code


def exchanged(texts: Sequence[str], seed: int) -> list[str]:
    """Every place gets the text of another one: a random cycle through all of them."""
    cycle = list(range(len(texts)))
    random.Random(seed).shuffle(cycle)
    following = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    return [texts[following[n]] for n in range(len(texts))]


async def gathered(jobs: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Results of all jobs in order, AT_ONCE of them at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: Callable[[], Awaitable[Any]]) -> Any:
        async with gate:
            return await job()

    return list(await asyncio.gather(*(one(job) for job in jobs)))
