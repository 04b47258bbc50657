"""Inference: an image in, a program out, on the same Algorithm 1 as training and the same engine builder.

Guarantees: `turns=1` answers directly, as in the paper's evaluation, more turns refine with render and feedback; the
code, picture and similarity that come back belong together; an outage is an error, never an empty answer; whoever stops
listening stops the episode.
"""

import asyncio
import contextlib
import logging
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from ray import serve

from actors.contracts import Outage, Sample
from actors.dialogue import Codec
from actors.engine.policy import PolicyEngine
from actors.gauges import export
from actors.rollout.actor import rules_of
from actors.rollout.episode import Environment, Rules, episode
from actors.trajectory import Trajectory, Turn
from configs.schema import Config
from serving.http.errors import BadRequest
from serving.inference import checkpoint
from serving.inference.chat import Chat, prepared
from serving.inference.chat_engine import ChatEngine
from serving.inference.events import Event, emitting, encoded, frame, joined
from serving.judge.service import JudgeClient
from serving.render.service import RenderClient

log = logging.getLogger("ray.serve")
TOGETHER_S = 0.03  # pieces of text that arrive within it are sent as one event


class LocalPolicy:
    """The Policy contract on an engine of this process."""

    def __init__(self, engine: PolicyEngine, temperature: float) -> None:
        self._engine = engine
        self._temperature = temperature

    async def sample(
        self,
        prompt_ids: Sequence[int],
        images: Sequence[bytes],
        *,
        max_tokens: int,
        session: str,
        heard: Callable[[str], None] | None = None,
    ) -> Sample:
        return await self._engine.sample(prompt_ids, images, max_tokens, self._temperature, heard)


@serve.deployment(name="Inference", health_check_period_s=5, health_check_timeout_s=30)
class Inference:
    """One vLLM engine; asks the renderer and the judge of the same application."""

    def __init__(self, model: str, config: Config, renderer: Any, judge: Any) -> None:
        self._model = model
        self._config = config
        folder = checkpoint.with_adapter(model, config.inference.lora)
        self._engine = PolicyEngine(folder, config)
        self._chat = ChatEngine(
            self._engine, config.run.name, folder, config.engine.turn_s, config.inference.reasoning_content
        )
        self._reloading = asyncio.Lock()
        self._policy = LocalPolicy(self._engine, 0.0)
        self._env = Environment(
            self._policy,
            RenderClient(renderer, config),
            JudgeClient(judge, config),
            Codec.load(folder, config.prompts),
        )

    async def image_to_code(self, image: bytes, turns: int) -> dict[str, Any]:
        """Program for one PNG. `turns` 1 to rollout.max_turns. Raises Outage."""
        return as_json(await episode(image, self._env, self._rules(turns), f"http.{uuid.uuid4().hex}"))

    async def stream(self, image: bytes, turns: int) -> AsyncIterator[str]:
        """The same as server-sent events (see serving.inference.events); an outage ends it as an `error` event."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue()  # None ends it
        env = emitting(self._env, self._policy, queue.put_nowait, tool=turns > 1)
        task = asyncio.create_task(self._play(image, turns, env, queue.put_nowait))
        try:
            while (event := await queue.get()) is not None:
                if event[0] == "text":
                    await asyncio.sleep(TOGETHER_S)
                events = [event]
                while not queue.empty() and (event := queue.get_nowait()) is not None:
                    events.append(event)
                yield "".join(frame(*e) for e in joined(events))
                if event is None:
                    break
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _play(self, image: bytes, turns: int, env: Environment, say: Callable[[Event | None], None]) -> None:
        try:
            found = await episode(image, env, self._rules(turns), f"http.{uuid.uuid4().hex}")
            say(("done", as_json(found)))
        except Outage as error:
            say(("error", {"kind": "outage", "message": str(error)}))
        except Exception:
            log.exception("an episode failed")
            say(("error", {"kind": "internal", "message": "the server failed; its log says how"}))
        finally:
            say(None)

    def _rules(self, turns: int) -> Rules:
        rules = rules_of(self._config, single_turn=turns == 1)
        return replace(rules, rollout=replace(rules.rollout, max_turns=turns))

    async def chat(self, chat: Chat) -> dict[str, Any]:
        """One chat.completion. Raises BadRequest, Outage."""
        return await self._chat.answer(await self._prepared(chat))

    async def chat_stream(self, chat: Chat) -> AsyncIterator[str]:
        """The same as OpenAI's events. What raises, raises before the first."""
        async with contextlib.aclosing(self._chat.stream(await self._prepared(chat))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _prepared(self, chat: Chat) -> dict[str, Any]:
        control = self._env.codec.control
        return await prepared(chat, control, self._config.data.max_pixels, self._config.rollout.max_turns + 1)

    async def loaded(self) -> dict[str, Any]:
        return {"model": self._model, "version": (await self._engine.stats())["version"]}

    async def reload(self, model: str, version: int) -> dict[str, Any]:
        """Go on with the weights of another checkpoint's folder, as `version`, while requests run; a no-op where they
        are there. Raises BadRequest for a folder that does not fit, Outage."""
        async with self._reloading:
            if await self.loaded() == {"model": model, "version": version}:
                return {"pause_s": 0.0}
            try:
                folder = await asyncio.to_thread(checkpoint.with_adapter, model, self._config.inference.lora)
                await asyncio.to_thread(checkpoint.check, folder, self._model)
            except ValueError as error:
                raise BadRequest("bad_model", str(error), param="model") from None
            if self._config.engine.gpus:
                report = await self._engine.load(folder, version)
            else:
                blob = await asyncio.to_thread(checkpoint.image, folder)
                crc32 = await asyncio.to_thread(zlib.crc32, blob.data)
                report = await self._engine.update(blob, crc32, version)
            self._model = model
            return {"pause_s": report.pause_s}

    async def about(self) -> dict[str, Any]:
        await self._engine.ready()
        return {"model": self._model, **await self._engine.stats()}

    async def check_health(self) -> None:
        """Asked by Serve every few seconds; the figures go to Ray's metrics with it."""
        await self._engine.ready()
        export("engine", await self._engine.stats())


def deployment(config: Config, model: str, renderer: Any, judge: Any) -> Any:
    """The bound engines of an application, as many as the load asks for within the settings."""
    settings = config.inference
    options: dict[str, Any] = {
        "ray_actor_options": {"num_cpus": config.engine.cpus, "num_gpus": config.engine.gpus},
        "max_ongoing_requests": 4 * config.engine.max_num_seqs,
        "max_queued_requests": 4 * config.engine.max_num_seqs,
    }
    if settings.max_replicas > settings.replicas:
        options["autoscaling_config"] = {
            "min_replicas": settings.replicas,
            "max_replicas": settings.max_replicas,
            "target_ongoing_requests": settings.target,
        }
    else:
        options["num_replicas"] = settings.replicas
    return Inference.options(**options).bind(model, config, renderer, judge)  # type: ignore[attr-defined]


def as_json(played: Trajectory) -> dict[str, Any]:
    """A trajectory as the HTTP answer: the last turn's code and picture, and every turn on the way."""
    turns = [turn_as_json(t) for t in played.turns]
    last = turns[-1] if turns else {"code": None, "picture": None, "failure": "no turn fits the context"}
    return {
        "code": last["code"],
        "picture": last["picture"],
        "similarity": played.similarity,
        "failure": last["failure"],
        "ending": played.ending,
        "turns": turns,
    }


def turn_as_json(turn: Turn) -> dict[str, Any]:
    """One turn; `score` is the similarity of its picture, null where there is none."""
    failure = None
    if turn.kind == "malformed":
        failure = "malformed: the policy's message has no well-formed tool call or answer"
    elif turn.render is not None and not turn.render.ok:
        failure = f"{turn.render.kind}: {turn.render.message}"
    return {
        "kind": turn.kind,
        "text": turn.text,
        "code": turn.code,
        "picture": encoded(turn.render.png) if turn.render is not None else None,
        "failure": failure,
        "score": turn.verdict.score if turn.verdict is not None else None,
        "feedback": turn.verdict.feedback if turn.verdict is not None else None,
        "differences": [asdict(d) for d in turn.verdict.differences] if turn.verdict is not None else [],
    }
