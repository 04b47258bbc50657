"""The vision-language judge: what it is shown, how often it is asked, and what its answers come to.

Guarantees: the target comes first, or second as well where both orders are asked for; an answer that is no verdict is
asked for again once, then an Outage, never a score; seeds are fixed, and temperature 0 where one answer is enough;
several answers count by their mean. Whatever is written in the pictures reaches the model as pixels only, and its
instructions say that such text is content: that holds a model that follows instructions in order, no other.
"""

import asyncio
import hashlib
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, TypeVar

from PIL import Image

from actors.contracts import Domain, Outage, Verdict
from actors.images import normalise, too_thin
from configs.domains import find
from configs.schema import Judge as Settings
from serving.http.retry import Caller
from serving.judge.mllm_answer import BACKEND, FULL_MARK, Malformed, marks_of, parse
from serving.judge.mllm_pair import CLOSING as WHICH
from serving.judge.mllm_pair import INSTRUCTIONS, pair_schema, parse_preference
from serving.judge.mllm_question import Question

T = TypeVar("T")

CLOSING = "Compare them and answer in JSON."
SAMPLING = 0.7  # temperature where several answers are averaged: at 0 they would be one
SHARE = 0.9  # of the deadline for asking; the rest is for the way to the caller
Ask = Callable[[Question], Awaitable[str]]  # the model's text; raises retry.Transient, Outage


class Mllm:
    """The backend over any way to ask a model."""

    def __init__(
        self, config: Settings, ask: Ask, close: Callable[[], Awaitable[None]],
        cost: Callable[[], dict[str, float]] = dict,
    ) -> None:  # fmt: skip
        self._config = config
        self._cost = cost
        self._ask = ask
        self._close = close
        self._caller = Caller("judge", config.retries, config.concurrency)
        self._malformed = 0
        parts = [config.model, config.url, config.instructions, config.max_pixels]
        parts += [config.max_differences, config.max_chars]
        parts += [config.samples, config.both_orders]
        self.version = f"{BACKEND}-{hashlib.blake2b(json.dumps(parts).encode(), digest_size=6).hexdigest()}"

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Ask the model, again if its answer cannot be read. Raises Outage by the deadline, ValueError for no image."""
        if too_thin(*(await asyncio.to_thread(Image.open, io.BytesIO(render))).size):  # no model takes it
            return Verdict(0.0, "The picture is a mere line: one side is far too long.", BACKEND)
        shown, drawn = await self._scaled(target, render)
        system = self._config.instructions or find(domain).question.instructions
        question = Question(system, shown, drawn, CLOSING, schema(domain, self._config), 0)
        return mean(await self._answers(question, lambda text, _: parse(text, domain)))

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        """As `actors.contracts.Judge.prefer`, of two different readable pictures that are not blank: the mean of all
        answers. Raises Outage, ValueError."""
        sides = [too_thin(*(await asyncio.to_thread(Image.open, io.BytesIO(png))).size) for png in (first, second)]
        if any(sides):
            return (1 + sides[1] - sides[0]) / 2
        shown, one, other = await self._scaled(target, first, second)
        form = pair_schema(self._config.max_chars)
        question = Question(INSTRUCTIONS, shown, one, WHICH, form, 0, rival=other)

        def read(text: str, asked: Question) -> float:
            return 1 - parse_preference(text) if asked.swapped else parse_preference(text)

        answers = await self._answers(question, read)
        return sum(answers) / len(answers)

    async def _scaled(self, *pictures: bytes) -> list[bytes]:
        return [await asyncio.to_thread(normalise, image, self._config.max_pixels) for image in pictures]

    async def _answers(self, question: Question, read: Callable[[str, Question], T]) -> list[T]:
        """Everything that is answered to one question: `judge.samples` times, in both orders where asked for."""
        limit = SHARE * self._config.deadline_s
        orders = (False, True) if self._config.both_orders else (False,)
        temperature = 0.0 if self._config.samples == 1 else SAMPLING
        asked = [
            replace(question, seed=2 * seed, swapped=swapped, temperature=temperature)
            for seed in range(self._config.samples)
            for swapped in orders
        ]
        try:
            async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(one, read)) for one in asked]
        except TimeoutError:
            raise Outage("judge", f"no verdict within {limit:g} s of judge.deadline_s; {self._caller.last}") from None
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return [task.result() for task in tasks]

    async def _answer(self, question: Question, read: Callable[[str, Question], T]) -> T:
        """One answer, asked for again once if it cannot be read."""
        fault = quoted = ""
        for again in (0, 1):
            closing = f"{question.closing} An earlier answer was unusable: {fault}." if again else question.closing
            one = replace(question, closing=closing, seed=question.seed + again)
            try:
                text = await self._caller.call(lambda one=one: self._ask(one))  # type: ignore[misc]
                return read(text, one)
            except Malformed as error:
                fault, quoted = str(error), error.quoted and f": {error.quoted}"
                self._malformed += 1
        raise Outage("judge", f"the model's answer is no verdict, twice: {fault}{quoted}")

    async def close(self) -> None:
        await self._close()

    def stats(self) -> dict[str, float]:
        """Failed attempts, unusable answers, 1 while the circuit is open, and what an endpoint counts of its cost."""
        counts = {"failures": self._caller.failures, "malformed": self._malformed, "open": float(self._caller.open)}
        return {**counts, **self._cost()}


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is none."""
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def mean(verdicts: list[Verdict]) -> Verdict:
    """The mean of several verdicts on one pair: of scores and marks; words and findings are those of the verdict that
    is nearest to it."""
    if len(verdicts) == 1:
        return verdicts[0]
    score = sum(v.score for v in verdicts) / len(verdicts)
    nearest = min(verdicts, key=lambda v: abs(v.score - score))
    names = [name for name in nearest.sub_scores if all(name in v.sub_scores for v in verdicts)]
    marks = {name: sum(v.sub_scores[name] for v in verdicts) / len(verdicts) for name in names}
    return replace(nearest, score=score, sub_scores=marks)


def schema(domain: Domain, config: Settings) -> dict[str, Any]:
    """JSON schema of an answer. Findings come before marks, so that a model marks what it has found; every part is
    bounded, so that an answer ends."""
    names = list(marks_of(domain))
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


def build_mllm(config: Settings, engine: Any) -> Mllm:
    """The judge at `judge.url`, or behind `engine`, the Serve handle of our own deployment."""
    if config.url:
        from serving.judge.mllm_endpoint import Endpoint

        endpoint = Endpoint(config)
        return Mllm(config, endpoint.ask, endpoint.close, endpoint.stats)
    if engine is None:
        raise ValueError("judge.backend=mllm needs judge.url, or a cluster that runs judge.model")
    from serving.judge.mllm_engine import EngineClient

    client = EngineClient(engine)
    return Mllm(config, client.ask, client.close)
