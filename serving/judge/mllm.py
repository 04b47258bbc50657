"""The vision-language judge: what it is shown, what it must answer, and how an answer becomes a verdict.

Guarantees: the target comes first; the answer is JSON of one schema or it is no verdict (asked again once, then an
Outage, never a score); temperature 0 and a fixed seed; the score is a fixed sum of the marks, computed here. Whatever
is written in the pictures reaches the model as pixels only, and its instructions say that such text is content.
"""

import asyncio
import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from PIL import Image

from actors.contracts import Difference, Domain, Outage, Verdict
from actors.images import normalise, too_thin
from configs.schema import Judge as Settings
from serving.http.retry import Caller
from serving.judge.mllm_question import Question

BACKEND = "mllm"
# Marks and their weights. Charts: ChartMimic's dimensions and points (arXiv 2406.09961, appendix on the GPT score);
# pages: element completeness, meaning and overall fidelity, as the RRVF paper names them, in judgeable parts.
MARKS: dict[Domain, dict[str, int]] = {
    "chart": {"type": 20, "layout": 10, "text": 20, "data": 20, "style": 20, "clarity": 10},
    "web": {"layout": 25, "text": 20, "elements": 20, "colour": 15, "style": 10, "clarity": 10},
}
FULL_MARK = 10
SHARE = 0.9  # of the deadline for asking; the rest is for the way to the caller
Ask = Callable[[Question], Awaitable[str]]  # the model's text; raises retry.Transient, Outage


class Malformed(ValueError):
    """The model's answer is no verdict; the message says why, in our words only."""


class Mllm:
    """The backend over any way to ask a model."""

    def __init__(self, config: Settings, ask: Ask, close: Callable[[], Awaitable[None]]) -> None:
        self._config = config
        self._ask = ask
        self._close = close
        self._caller = Caller("judge", config.retries, config.concurrency)
        self._malformed = 0
        parts = [config.model, config.url, asdict(config.prompts), config.max_pixels]
        parts += [MARKS, schema("chart", config), schema("web", config)]
        self.version = f"{BACKEND}-{hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()}"

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Ask the model, again if its answer cannot be read. Raises Outage by the deadline, ValueError for no image."""
        if too_thin(*(await asyncio.to_thread(Image.open, io.BytesIO(render))).size):  # no model takes it
            return Verdict(0.0, "The picture is a mere line: one side is far too long.", BACKEND)
        pictures = [await asyncio.to_thread(normalise, image, self._config.max_pixels) for image in (target, render)]
        limit = SHARE * self._config.deadline_s
        closing = "Compare them and answer in JSON."
        fault = ""
        try:
            async with asyncio.timeout(limit):
                for seed in (0, 1):
                    system = getattr(self._config.prompts, domain)
                    question = Question(system, pictures[0], pictures[1], closing, schema(domain, self._config), seed)
                    text = await self._caller.call(lambda question=question: self._ask(question))  # type: ignore[misc]
                    try:
                        return parse(text, domain)
                    except Malformed as error:
                        fault = str(error)
                        self._malformed += 1
                        closing = f"Compare them and answer in JSON. An earlier answer was unusable: {fault}."
        except TimeoutError:
            raise Outage("judge", f"no verdict within {limit:g} s of judge.deadline_s; {self._caller.last}") from None
        raise Outage("judge", f"the model's answer is no verdict, twice: {fault}")

    async def close(self) -> None:
        await self._close()

    def stats(self) -> dict[str, float]:
        """Failed attempts, unusable answers, and 1 while the circuit is open."""
        return {"failures": self._caller.failures, "malformed": self._malformed, "open": float(self._caller.open)}


def schema(domain: Domain, config: Settings) -> dict[str, Any]:
    """JSON schema of an answer. Findings come before marks, so that a model marks what it has found; every part is
    bounded, so that an answer ends."""
    names = list(MARKS[domain])
    short, long = max(8, config.max_chars // 12), max(16, config.max_chars // 4)
    finding = {
        "category": {"type": "string", "enum": names},
        "severity": {"type": "integer", "enum": [1, 2, 3]},
        "where": {"type": "string", "maxLength": short},
        "what": {"type": "string", "maxLength": long},
    }
    marks = {name: {"type": "integer", "enum": list(range(FULL_MARK + 1))} for name in names}
    findings = {"type": "array", "maxItems": config.max_differences, "items": _object(finding)}
    feedback = {"type": "string", "maxLength": config.max_chars}
    return _object({"differences": findings, "feedback": feedback, "marks": _object(marks)})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def parse(text: str, domain: Domain) -> Verdict:
    """The verdict in a model's answer. Raises Malformed."""
    start, end = text.find("{"), text.rfind("}")  # endpoints without structured output wrap it in a fence
    try:
        # not strict: grammars of structured output let raw control characters into bounded strings
        answer = json.loads(text[start : end + 1], strict=False)
        found, feedback, given = answer["differences"], answer["feedback"], answer["marks"]
        differences = tuple(_finding(one, domain) for one in found)
        marks = {name: _whole(given[name], 0, FULL_MARK) for name in MARKS[domain]}
    except KeyError as error:
        raise Malformed(f"the key {error} is missing") from None
    except (TypeError, AttributeError):
        raise Malformed("a value is of the wrong type") from None
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("it is not JSON" if end >= 0 else "it holds no finished JSON object") from None
    if not isinstance(found, list) or not isinstance(feedback, str):
        raise Malformed("differences must be a list, feedback a text")
    weights = MARKS[domain]
    score = sum(weights[n] * marks[n] for n in weights) / (FULL_MARK * sum(weights.values()))
    return Verdict(score, _plain(feedback), BACKEND, differences, {n: mark / FULL_MARK for n, mark in marks.items()})


def _finding(one: Any, domain: Domain) -> Difference:
    category, where, what = one["category"], one["where"], one["what"]
    if category not in MARKS[domain]:
        raise Malformed(f"a category is none of {', '.join(MARKS[domain])}")
    if not isinstance(where, str) or not isinstance(what, str):
        raise Malformed("where and what must be texts")
    return Difference(category, _whole(one["severity"], 1, 3), _plain(where), _plain(what))


def _plain(text: str) -> str:
    """One line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _whole(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"a number is not a whole one of {least} to {most}")
    return value


def build_mllm(config: Settings, engine: Any) -> Mllm:
    """The judge at `judge.url`, or behind `engine`, the Serve handle of our own deployment."""
    if config.url:
        from serving.judge.mllm_endpoint import Endpoint

        endpoint = Endpoint(config)
        return Mllm(config, endpoint.ask, endpoint.close)
    if engine is None:
        raise ValueError("judge.backend=mllm needs judge.url, or a cluster that runs judge.model")
    from serving.judge.mllm_engine import EngineClient

    client = EngineClient(engine)
    return Mllm(config, client.ask, client.close)
