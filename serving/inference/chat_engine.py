"""Chat completions on the policy's engine: vLLM's own OpenAI server, without its HTTP.

Guarantees: template, streaming, log-probabilities and usage are vLLM's; the keys of its caches carry the weights'
version, so a chat after a reload never reads what older weights computed; tokens that no training ever samples (image
placeholders, control tokens) are not sampled here either. What the client got wrong is a BadRequest, also in a stream
that has not begun.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from actors.contracts import Outage
from actors.engine.policy import PolicyEngine
from serving.http.errors import BadRequest
from serving.inference.reasoning import Chunks, separate


class ChatEngine:
    """`name`: the model's name on the wire; `reasoning`: the think part of an answer goes into `reasoning_content`."""

    def __init__(self, policy: PolicyEngine, name: str, model: str, turn_s: float, reasoning: bool) -> None:
        from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
        from vllm.entrypoints.openai.models.protocol import BaseModelPath
        from vllm.entrypoints.openai.models.serving import OpenAIServingModels
        from vllm.renderers.online_renderer import OnlineRenderer

        engine = policy.vllm
        shared: dict[str, Any] = {
            "request_logger": None,
            "chat_template": None,
            "chat_template_content_format": "auto",
        }
        self._policy = policy
        self._turn_s = turn_s
        self._reasoning = reasoning
        self._chat = OpenAIServingChat(
            engine,
            OpenAIServingModels(engine, [BaseModelPath(name=name, model_path=model)]),
            "assistant",
            online_renderer=OnlineRenderer(engine.model_config, engine.renderer, **shared),
            **shared,
        )

    async def answer(self, chat: dict[str, Any]) -> dict[str, Any]:
        """A whole chat.completion. `chat` as serving.inference.chat.prepared makes it. Raises BadRequest, Outage."""
        async with self._policy.use() as version:
            found = await self._ask(chat, version)
            answer = found.model_dump(mode="json", exclude_none=True)
            return separate(answer) if self._reasoning else answer

    async def stream(self, chat: dict[str, Any]) -> AsyncGenerator[str, None]:
        """The same as server-sent events, [DONE] included."""
        split = Chunks() if self._reasoning else None
        async with self._policy.use() as version, aclosing(await self._ask(chat, version)) as chunks:
            while True:
                try:
                    async with asyncio.timeout(self._turn_s):
                        chunk = await anext(chunks, None)
                except TimeoutError:
                    raise self._late() from None
                if chunk is None:
                    return
                yield chunk if split is None else split.push(chunk)

    async def _ask(self, chat: dict[str, Any], version: int) -> Any:
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
        from vllm.entrypoints.serve import create_error_response
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            async with asyncio.timeout(self._turn_s):
                request = ChatCompletionRequest(**self._keyed(chat, version))
                found = await self._chat.create_chat_completion(request)
        except TimeoutError:
            raise self._late() from None
        except EngineDeadError:
            raise Outage("engine", "the engine process has died") from None
        except Exception as error:
            found = create_error_response(error)
            if found.error.code >= 500:
                raise
        if isinstance(found, ErrorResponse):
            message = " ".join(found.error.message.split())[:500]
            kind = "model_not_found" if found.error.code == 404 else "bad_chat"
            raise BadRequest(kind, message, found.error.code, found.error.param)
        return found

    def _keyed(self, chat: dict[str, Any], version: int) -> dict[str, Any]:
        """`chat` with the version in every cache key, and with the policy's bias."""
        messages = []
        for message in chat["messages"]:
            content = message["content"]
            if not isinstance(content, str):
                content = [_keyed_part(part, version) for part in content]
            messages.append({**message, "content": content})
        bias = {str(i): value for i, value in self._policy.bias.items()}
        return {**chat, "messages": messages, "cache_salt": str(version), "logit_bias": bias}

    def _late(self) -> Outage:
        return Outage("engine", f"no answer within {self._turn_s:g} s (engine.turn_s)")


def _keyed_part(part: dict[str, Any], version: int) -> dict[str, Any]:
    if part["type"] != "image_url":
        return part
    digest = hashlib.sha256(part["image_url"]["url"].encode()).hexdigest()
    return {**part, "uuid": f"{digest}@{version}"}
