"""Inference: an image in, a program out, on the same Algorithm 1 as training and the same engine builder.

Guarantees: `turns=1` answers directly, as in the paper's evaluation, more turns refine with render and feedback; the
code, picture and likeness that come back belong together; an outage is an error, never an empty answer.
"""

import base64
import uuid
from dataclasses import replace
from typing import Any

from ray import serve

from actors.dialogue import Codec
from actors.episode import World, episode
from actors.policy import PolicyEngine
from actors.rollout import rules_of
from actors.trajectory import Trajectory, Turn
from configs.schema import Config
from serving.judge import JudgeClient
from serving.render import RenderClient


class LocalPolicy:
    """The Policy contract on an engine of this process."""

    def __init__(self, engine: PolicyEngine, temperature: float) -> None:
        self._engine = engine
        self._temperature = temperature

    async def sample(self, prompt_ids: Any, images: Any, *, max_tokens: int, session: str) -> Any:
        return await self._engine.sample(prompt_ids, images, max_tokens, self._temperature)


@serve.deployment(name="Inference", max_ongoing_requests=64, health_check_period_s=5, health_check_timeout_s=30)
class Inference:
    """One vLLM engine; asks the renderer and the judge of the same application."""

    def __init__(self, model: str, config: Config, renderer: Any, judge: Any) -> None:
        self._model = model
        self._config = config
        self._engine = PolicyEngine(model, config)
        self._world = World(
            LocalPolicy(self._engine, 0.0),
            RenderClient(renderer, config),
            JudgeClient(judge, config),
            Codec.load(model, config.prompts),
        )

    async def image_to_code(self, image: bytes, turns: int) -> dict[str, Any]:
        """Program for one PNG. `turns` 1 to rollout.max_turns. Raises Outage."""
        rules = rules_of(self._config, single_turn=turns == 1)
        rules = replace(rules, rollout=replace(rules.rollout, max_turns=turns))
        return as_json(await episode(image, self._world, rules, f"http.{uuid.uuid4().hex}"))

    async def about(self) -> dict[str, Any]:
        await self._engine.ready()
        return {"model": self._model, **await self._engine.stats()}

    async def check_health(self) -> None:
        await self._engine.ready()


def as_json(played: Trajectory) -> dict[str, Any]:
    """A trajectory as the HTTP answer: the last turn's code and picture, and every turn on the way."""
    turns = [turn_as_json(t) for t in played.turns]
    last = turns[-1] if turns else {"code": None, "picture": None, "failure": "no turn fits the context"}
    return {
        "code": last["code"],
        "picture": last["picture"],
        "likeness": played.reward.vision,
        "failure": last["failure"],
        "ending": played.ending,
        "turns": turns,
    }


def turn_as_json(turn: Turn) -> dict[str, Any]:
    render = turn.render
    picture = base64.b64encode(render.png).decode() if render is not None and render.png is not None else None
    failure = None
    if turn.kind == "malformed":
        failure = "malformed: the policy's message has no well-formed tool call or answer"
    elif render is not None and not render.ok:
        failure = f"{render.kind}: {render.message}"
    return {
        "kind": turn.kind,
        "text": turn.text,
        "code": turn.code,
        "picture": picture,
        "failure": failure,
        "score": turn.verdict.score if turn.verdict is not None else None,
        "feedback": turn.verdict.feedback if turn.verdict is not None else None,
    }
