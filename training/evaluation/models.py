"""Single-turn answers to a picture: from a policy on this machine's vLLM, or from any OpenAI-compatible endpoint.

Guarantees: one prompt, one picture, no tool, greedy, the same for every model; overload, lost connections and broken
bodies are tried again and then an Outage, never an empty answer; the key (RRVF_MODEL_KEY) appears in no message.
"""

import asyncio
import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from actors.contracts import Outage
from actors.dialogue import Codec, Dialogue
from actors.engine.policy import PolicyEngine
from configs.load import ConfigError
from configs.schema import Config, Prompts
from serving.http.retry import Caller, Transient

KEY = "RRVF_MODEL_KEY"
RETRIES = 4
GIVEN_UP = ("abort", "error")  # how vLLM's own endpoint ends an answer that the model did not


class Answers(Protocol):
    name: str

    async def answer(self, image: bytes, prompt: str) -> str:
        """The model's words about one picture (PNG bytes). Raises Outage."""
        ...

    async def close(self) -> None: ...


class EngineAnswers:
    """A policy (folder or hub name) on an engine of this process, batched by it. With prompts in the settings (those
    it was trained with) it is asked as in training, else by the benchmark's."""

    def __init__(self, model: str, config: Config) -> None:
        """Raises ValueError with one line where the model cannot be served."""
        self.name = model
        self._config = config
        self._codec = Codec.load(model, config.prompts)
        self._engine = PolicyEngine(model, config)
        self._number = 0

    async def answer(self, image: bytes, prompt: str) -> str:
        codec = self._codec
        if not self._config.prompts.user:
            codec = replace(codec, prompts=Prompts(direct_system=self._config.prompts.direct_system, user=prompt))
        dialogue = await asyncio.to_thread(Dialogue.start, codec, image, direct=True)
        room = self._config.engine.max_model_len - len(dialogue.full_ids)
        if room < 1:
            return ""  # the picture alone fills the context: the model has no answer to it
        most = min(room, self._config.sampling.max_tokens)
        sample = await self._engine.sample(dialogue.short_ids, dialogue.images, most, 0.0)
        return codec.decode(sample.token_ids)

    async def close(self) -> None:
        await self._engine.close()


class EndpointAnswers:
    """A model behind an OpenAI-compatible base address (`http://host:port/v1`)."""

    def __init__(
        self,
        url: str,
        model: str = "",
        *,
        key: str = KEY,
        concurrency: int = 16,
        max_tokens: int = 4096,
        s: float = 600.0,
    ) -> None:
        """`model` empty: the first that the endpoint lists. `key`: the environment variable that holds its key. `s`:
        deadline of one answer, retries included; it begins when it is one of `concurrency` under way."""
        self.name = model or url
        self._url = url.rstrip("/")
        self._model = model
        self._key = key
        self._max_tokens = max_tokens
        self._deadline_s = s
        self._caller = Caller("model", RETRIES, concurrency)
        self._under_way = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._asking = asyncio.Lock()

    async def answer(self, image: bytes, prompt: str) -> str:
        return await self.ask([image], prompt)

    async def ask(self, images: list[bytes], prompt: str, *, system: str = "", text_first: bool = False) -> str:
        """The model's text about pictures, in order, and a prompt after or before them. Raises Outage."""
        try:
            async with self._under_way, asyncio.timeout(self._deadline_s):
                parts = [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(i).decode()}"}}
                    for i in images
                ]
                text = [{"type": "text", "text": prompt}]
                user = {"role": "user", "content": [*text, *parts] if text_first else [*parts, *text]}
                body = {
                    "model": await self.model(),
                    "messages": [*([{"role": "system", "content": system}] if system else []), user],
                    "temperature": 0,
                    "max_tokens": self._max_tokens,
                }
                answer = await self._caller.call(lambda: self._request("POST", "chat/completions", body))
        except TimeoutError:
            raise Outage("model", f"no answer within {self._deadline_s:g} s; {self._caller.last}") from None
        content = _at(answer, "choices", 0, "message", "content")
        if isinstance(content, list):  # some endpoints answer in parts, as they are asked
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        return content if isinstance(content, str) else ""

    async def model(self) -> str:
        """Its name at the endpoint. Raises Outage."""
        async with self._asking:
            if not self._model:
                found = await self._caller.call(lambda: self._request("GET", "models", None))
                self._model = self.name = str(_at(found, "data", 0, "id"))
            return self._model

    async def reach(self) -> None:
        """Raises ConfigError where nobody listens at the address; whatever is answered will do."""
        try:
            async with self._pool().get(f"{self._url}/models", timeout=aiohttp.ClientTimeout(total=30)):
                pass
        except (aiohttp.ClientError, OSError) as error:
            raise ConfigError(f"{self._url}: nobody answers there ({' '.join(str(error).split())[:200]})") from None

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The JSON of one request. Raises Transient, Outage."""
        url = f"{self._url}/{path}"
        try:
            async with self._pool().request(method, url, json=body) as response:
                if response.status == 429 or response.status >= 500:
                    asked = response.headers.get("Retry-After", "")
                    wait_s = min(30.0, float(asked)) if asked.isdigit() else 0.0
                    raise Transient(f"HTTP {response.status} from {url}", wait_s)
                if response.status != 200:
                    text = " ".join((await response.text(errors="replace")).split())[:300]
                    raise Outage("model", f"{url} refuses with HTTP {response.status}: {text}")
                found = await response.json(content_type=None)
                _at(found, "choices", 0, "message") if body is not None else _at(found, "data", 0, "id")
                if body is not None and (ended := found["choices"][0].get("finish_reason")) in GIVEN_UP:
                    raise Transient(f"{url} gave an answer up ({ended})")
                return found
        except (aiohttp.ClientError, OSError) as error:
            raise Transient(f"{type(error).__name__} at {url}: {' '.join(str(error).split())[:200]}") from None
        except (ValueError, LookupError, TypeError):
            raise Transient(f"{url} answers with something else than it should") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:  # here, because it belongs to the running event loop
            key = os.environ.get(self._key)
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._deadline_s / 2, sock_connect=10),
                headers={"Authorization": f"Bearer {key}"} if key else {},
            )
        return self._session


def _at(value: Any, *keys: str | int) -> Any:
    for key in keys:
        value = value[key]
    return value


def connect(model: str, name: str, config: Config) -> Answers:
    """The answers of `model`, a folder, hub name or address. Raises ConfigError."""
    if model.startswith(("http://", "https://")):
        return EndpointAnswers(model, name, max_tokens=config.sampling.max_tokens)
    if (model.startswith((".", "/")) or model.count("/") > 1) and not (Path(model) / "config.json").is_file():
        raise ConfigError(f"--model {model}: no model there (no config.json)")
    try:
        return EngineAnswers(model, config)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--model {model}: {str(error).splitlines()[0]}") from None
