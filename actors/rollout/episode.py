"""Algorithm 1 of RRVF (arXiv 2507.20766): one image in, one finished trajectory out.

Guarantees: the same function serves rollouts, the inference endpoint and tests, over any Policy, Renderer and Judge;
it ends after at most `max_turns` turns, within `trajectory_s` seconds and `max_trajectory_tokens` tokens; a program
that fails is an outcome with feedback, a failure of infrastructure leaves as `Outage`, so no reward is ever made of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from actors.contracts import Domain, Judge, Outage, Policy, Renderer, RenderResult, Verdict
from actors.dialogue import Codec, Dialogue, parse_turn
from actors.images import too_thin
from actors.rollout.reward import reward
from actors.trajectory import Ending, Trajectory, Turn
from configs.schema import Feedback, RewardWeights, Rollout, Sampling


@dataclass(frozen=True)
class Environment:
    """The three things an episode talks to, and the codec of the policy."""

    policy: Policy
    renderer: Renderer
    judge: Judge
    codec: Codec


@dataclass(frozen=True)
class Rules:
    """How an episode is played. `single_turn` offers no tool: one answer, as in the paper's evaluation. `pairwise`: the
    members of a group are compared with each other (`actors.rollout.tournament`)."""

    domain: Domain
    rollout: Rollout
    sampling: Sampling
    feedback: Feedback
    reward: RewardWeights
    pairwise: bool = False


@dataclass(frozen=True)
class Opening:
    """A first turn that called the tool, and the history to its end; who goes on from it does not train on it."""

    dialogue: Dialogue
    turn: Turn


async def first_turn(image: bytes, env: Environment, rules: Rules, session: str) -> Opening | None:
    """The first turn alone; None where it did not call the tool, so that nobody can go on from it. Raises Outage."""
    dialogue = Dialogue.start(env.codec, image)
    async with deadline(rules, session):
        turn = await _turn(dialogue, image, env, rules, session)
    if turn is None or turn.kind != "tool_call":
        return None
    unsampled = len(dialogue.full_ids)
    dialogue.sampled = [False] * unsampled
    dialogue.logprobs, dialogue.versions = [0.0] * unsampled, [-1] * unsampled
    return Opening(dialogue, replace(turn, sampled=0))


async def episode(
    image: bytes,
    env: Environment,
    rules: Rules,
    session: str,
    opening: Opening | None = None,
    silent: bool = False,
) -> Trajectory:
    """Play one episode for one target (PNG bytes), from its beginning or from an `opening`; `silent` gives empty
    feedback. Raises Outage, also when `trajectory_s` has passed."""
    async with deadline(rules, session):
        async for step in play(image, env, rules, session, opening, silent):
            if isinstance(step, Trajectory):
                return step
    raise AssertionError("an episode ends with its trajectory")


@asynccontextmanager
async def deadline(rules: Rules, session: str) -> AsyncIterator[None]:
    """A block that raises Outage after `rollout.trajectory_s`."""
    limit = rules.rollout.trajectory_s
    try:
        async with asyncio.timeout(limit):
            yield
    except TimeoutError:
        raise Outage("trajectory", f"{session} did not end within {limit:g} s (rollout.trajectory_s)") from None


async def play(
    image: bytes,
    env: Environment,
    rules: Rules,
    session: str,
    opening: Opening | None = None,
    silent: bool = False,
) -> AsyncIterator[Turn | Trajectory]:
    """The same, turn by turn: yields every finished Turn and at last the Trajectory."""
    direct = rules.rollout.single_turn
    budget = 1 if direct else rules.rollout.max_turns
    dialogue = Dialogue.start(env.codec, image, direct=direct) if opening is None else opening.dialogue.copy()
    turns: list[Turn] = [] if opening is None else [opening.turn]
    ending: Ending = "malformed"
    while True:
        if turns:
            if turns[-1].kind != "tool_call":
                ending = "length" if turns[-1].cut else turns[-1].kind
                break
            if len(turns) == budget:
                ending = "last_turn"
                break
            feedback = "" if silent else words(turns[-1].render, turns[-1].verdict, rules.feedback.max_chars)
            dialogue.add_feedback(feedback, shown(turns[-1].render, rules), last=len(turns) == budget - 1)
        turn = await _turn(dialogue, image, env, rules, session)
        if turn is None:
            ending = "length"
            break
        turns.append(turn)
        yield turn
    yield Trajectory(
        token_ids=tuple(dialogue.full_ids),
        sampled=tuple(dialogue.sampled),
        logprobs=tuple(dialogue.logprobs),
        versions=tuple(dialogue.versions),
        images=tuple(dialogue.images),
        turns=tuple(turns),
        ending=ending,
        reward=reward(turns, ending, rules.reward, shared=opening is not None),
        control=silent,
    )


async def _turn(dialogue: Dialogue, image: bytes, env: Environment, rules: Rules, session: str) -> Turn | None:
    """Sample, render and judge one turn; None where the trajectory has no room for it."""
    room = rules.sampling.max_trajectory_tokens - len(dialogue.full_ids)
    if room < 1:
        return None
    began, started = time.time(), time.perf_counter()
    sample = await env.policy.sample(
        dialogue.short_ids, dialogue.images, max_tokens=min(room, rules.sampling.max_tokens), session=session
    )
    text = dialogue.add_sampled(sample)
    sampled_at = time.perf_counter()
    kind, code = parse_turn(text, tool=not rules.rollout.single_turn)
    render, verdict, seconds = await _look(image, code, env, rules)
    spent = (sampled_at - started, *seconds)
    cut = kind == "malformed" and sample.finish == "length"
    return Turn(text, kind, code, render, verdict, len(sample.token_ids), spent, began, cut)


def shown(render: RenderResult | None, rules: Rules) -> bytes | None:
    """The picture that goes back to the policy, where it is to see any: none was drawn, or one that no model takes."""
    if not rules.feedback.include_render or render is None or render.png is None or render.size is None:
        return None
    return None if too_thin(*render.size) else render.png


def words(render: RenderResult | None, verdict: Verdict | None, max_chars: int) -> str:
    """The feedback on a tool call: the judge's differences, or how its program failed."""
    if verdict is not None:
        return verdict.feedback[:max_chars]
    assert render is not None  # a tool call has code, and code has been rendered
    return f"{render.kind}: {render.message}"[:max_chars]


async def _look(
    target: bytes, code: str | None, env: Environment, rules: Rules
) -> tuple[RenderResult | None, Verdict | None, tuple[float, float]]:
    """Render and judge one program; (None, None) where there is none to render, no verdict where it failed."""
    if code is None:
        return None, None, (0.0, 0.0)
    started = time.perf_counter()
    render = await env.renderer.render(code, rules.domain)
    rendered = time.perf_counter()
    if not render.ok or render.png is None:
        return render, None, (rendered - started, 0.0)
    verdict = await env.judge.compare(target, render.png, rules.domain)
    return render, verdict, (rendered - started, time.perf_counter() - rendered)
