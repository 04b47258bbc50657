"""A vision-language model behind any OpenAI-compatible endpoint.

Guarantees: pooled connections; overload (429), server errors, timeouts, lost connections and broken bodies are
`Transient`, every other refusal (a wrong key, an unknown model) an Outage that says so at once. The key is read from
the environment (RRVF_JUDGE_KEY) and appears in no message.
"""

import base64
import os
from typing import Any

import aiohttp

from actors.contracts import Outage
from configs.schema import Judge as Settings
from serving.http.retry import Transient
from serving.judge.mllm_question import MAX_TOKENS, Question

KEY = "RRVF_JUDGE_KEY"
MAX_WAIT_S = 30.0  # a longer Retry-After is cut


class Endpoint:
    """`judge.url` is the base (`http://host:port/v1`) of an endpoint that serves `judge.model`."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._url = f"{config.url.rstrip('/')}/chat/completions"
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, question: Question) -> str:
        """One request. Raises Transient, Outage."""
        try:
            async with self._pool().post(self._url, json=body(self._config.model, question)) as response:
                if response.status == 429 or response.status >= 500:
                    raise Transient(f"HTTP {response.status} from {self._url}", _wait(response))
                if response.status != 200:
                    text = " ".join((await response.text(errors="replace")).split())[:300]
                    raise Outage("judge", f"{self._url} refuses with HTTP {response.status}: {text}")
                answer = await response.json(content_type=None)
                content = answer["choices"][0]["message"]["content"]
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            raise Transient(f"{type(error).__name__} at {self._url}: {' '.join(str(error).split())[:200]}") from None
        except (ValueError, LookupError, TypeError):
            raise Transient(f"{self._url} answers with something else than a chat completion") from None
        return content if isinstance(content, str) else ""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:  # here, because it belongs to the running event loop
            key = os.environ.get(KEY)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.concurrency),
                timeout=aiohttp.ClientTimeout(total=self._config.deadline_s / 2, sock_connect=10),
                headers={"Authorization": f"Bearer {key}"} if key else {},
            )
        return self._session


def body(model: str, question: Question) -> dict[str, Any]:
    """The JSON body of a chat completion with structured output."""
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": question.system},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "TARGET:"},
                    _picture(question.target),
                    {"type": "text", "text": "RENDER:"},
                    _picture(question.render),
                    {"type": "text", "text": question.closing},
                ],
            },
        ],
        "temperature": 0,
        "seed": question.seed,
        "max_tokens": MAX_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": question.schema},
        },
    }


def _picture(png: bytes) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(png).decode()}"}}


def _wait(response: aiohttp.ClientResponse) -> float:
    """Seconds of a Retry-After; 0 without one (dates are not read)."""
    asked = response.headers.get("Retry-After", "")
    return min(MAX_WAIT_S, float(asked)) if asked.isdigit() else 0.0
