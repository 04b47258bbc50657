"""A vision-language model behind any OpenAI-compatible endpoint.

Guarantees: pooled connections; overload (429), server errors, timeouts, lost connections and broken bodies are
`Transient`; a form of the question that the endpoint does not know is replaced by the next one, once for all questions;
an answer that was refused, filtered, cut off or is empty is `Malformed` and says which; every other refusal (a wrong
key, an unknown model) is an Outage at once; whatever an endpoint answers is one of these, and no more than MOST_BYTES
of it are read. Without a name the first model that is listed is asked, and logged. The key is read from the environment
(RRVF_JUDGE_KEY) and appears in no message.
"""

import asyncio
import json
import logging
import os
import time
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp

from actors.contracts import Outage
from actors.text import one_line
from configs.schema import Judge as Settings
from serving.http.retry import Slow, Transient
from serving.judge.mllm_answer import Malformed
from serving.judge.mllm_forms import Form, body
from serving.judge.mllm_question import Question
from serving.judge.pace import Pace

log = logging.getLogger("ray.serve")
KEY = "RRVF_JUDGE_KEY"
MAX_WAIT_S = 60.0  # a longer Retry-After is cut
MOST_FORMS = 8  # that one question goes through
MOST_BYTES = 4 * 2**20  # of an answer, unpacked


class Endpoint:
    """`judge.url` is the base (`http://host:port/v1`) of an endpoint that serves `judge.model`, or any."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._base = config.url.rstrip("/")
        self._url = f"{self._base}/chat/completions"
        self._model = config.model
        self._naming = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._form = Form()
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)
        self._counts = dict.fromkeys(("requests", "prompt_tokens", "completion_tokens"), 0)

    async def ask(self, question: Question) -> str:
        """The text of one answer. Raises Transient, Outage; Malformed for an answer without a text."""
        model = self._model or await self._first_listed()
        for _ in range(MOST_FORMS):
            form = self._form
            answer = await self._post(body(model, question, form))
            if isinstance(answer, str):
                if self._form == form:  # else another question has learned it meanwhile
                    following = form.after(answer)
                    if following is None:
                        raise Outage("judge", f"{self._url} refuses: {answer}")
                    self._form = following
                continue
            return self._text(answer, form)
        raise Outage("judge", f"{self._url} refuses every form of the question")

    async def _first_listed(self) -> str:
        """Raises Transient, Outage."""
        async with self._naming:
            if not self._model:
                url = f"{self._base}/models"
                found = await self._call("GET", url, None)
                if isinstance(found, str):
                    raise Outage("judge", f"{url} refuses: {found}; set judge.model")
                try:
                    self._model = _said(str(found["data"][0]["id"]), 300)
                except (LookupError, TypeError):
                    raise Outage("judge", f"{url} lists none: set judge.model") from None
                log.info("judge: asks %s, the first model that %s lists", self._model, self._base)
            return self._model

    async def _post(self, request: dict[str, Any]) -> dict[str, Any] | str:
        """The completion, or the text of a refusal of the request's form."""
        await self._pace.wait()
        self._counts["requests"] += 1
        answer = await self._call("POST", self._url, request)
        try:
            if not isinstance(answer, str):
                answer["choices"][0]["message"].keys()
        except (LookupError, TypeError, AttributeError):
            raise Transient(f"{self._url} answers with something else than a chat completion") from None
        return answer

    async def _call(self, method: str, url: str, request: dict[str, Any] | None) -> dict[str, Any] | str:
        """The JSON of an answer, or the text of a refusal of the request's form. Raises Transient, Outage."""
        try:
            async with self._pool().request(method, url, json=request) as response:
                if response.status == 429 or response.status >= 500:
                    wait_s = _wait(response.headers)
                    self._pace.hold(wait_s)
                    raise Transient(f"HTTP {response.status} from {url}", wait_s)
                if response.status != 200:
                    text = _said((await _read(response)).decode("utf-8", "replace"), 300)
                    if response.status in (400, 422):
                        return f"HTTP {response.status}: {text}"
                    raise Outage("judge", f"{url} refuses with HTTP {response.status}: {text}")
                found: dict[str, Any] = json.loads(await _read(response))
                return found
        except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
            late = isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ConnectionTimeoutError)
            fault = f"{type(error).__name__} at {url}: {_said(str(error), 200)}"
            raise (Slow if late else Transient)(fault) from None
        except (ValueError, RecursionError):
            raise Transient(f"{url} answers with something else than JSON") from None

    def _text(self, answer: dict[str, Any], form: Form) -> str:
        """What an answer says. Raises Malformed."""
        usage = answer.get("usage")
        for name in ("prompt_tokens", "completion_tokens"):
            self._counts[name] += _tokens(usage, name)
        self._pace.used(_tokens(usage, "total_tokens"))
        choice = answer["choices"][0]
        message = choice["message"]
        if message.get("refusal"):
            raise Malformed("the model refuses", _said(str(message["refusal"]), 200))
        if choice.get("finish_reason") == "content_filter":
            raise Malformed("a content filter of the endpoint withholds the answer")
        text = _joined(message.get("content"))
        if choice.get("finish_reason") == "length" and not text.rstrip().endswith(("}", "```")):
            self._form = form.longer() if self._form == form else self._form
            raise Malformed(f"it is cut off after {form.limit} tokens")
        thoughts = _joined(message.get("reasoning_content") or message.get("reasoning"))
        text = text if text.strip() else thoughts
        if not text.strip():
            raise Malformed("it is empty")
        return text

    def stats(self) -> dict[str, float]:
        """Requests and tokens so far, as the endpoint counts them."""
        return dict(self._counts)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:  # here, because it belongs to the running event loop
            key = os.environ.get(KEY)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.concurrency),
                # half, so that an attempt that hangs leaves time for another
                timeout=aiohttp.ClientTimeout(total=self._config.deadline_s / 2, sock_connect=10),
                headers={"Authorization": f"Bearer {key}"} if key else {},
            )
        return self._session


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body, unpacked. Raises ValueError for one of more than MOST_BYTES."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > MOST_BYTES:
            raise ValueError("too long")
    return bytes(body)


def _said(text: str, most: int) -> str:
    """What somebody else wrote, as one line that no terminal takes for a command."""
    return " ".join(one_line(text[: 4 * most]).split())[:most]


def _tokens(usage: Any, name: str) -> int:
    """Of an answer's usage; 0 where it states no number of them."""
    count = usage.get(name) if isinstance(usage, dict) else 0
    return count if type(count) is int and 0 <= count <= MOST_BYTES else 0


def _joined(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts of which those with a text count, thoughts apart."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part for part in content if isinstance(part, dict) and part.get("type") not in ("reasoning", "thinking")]
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def _wait(headers: Any) -> float:
    """Seconds of a Retry-After (a number or a date) or of retry-after-ms; 0 without one."""
    try:
        if "retry-after-ms" in headers:
            return min(MAX_WAIT_S, max(0.0, float(headers["retry-after-ms"]) / 1000))
        asked = headers.get("Retry-After", "0")
        if asked.replace(".", "", 1).isdigit():
            return min(MAX_WAIT_S, float(asked))
        return min(MAX_WAIT_S, max(0.0, parsedate_to_datetime(asked).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
