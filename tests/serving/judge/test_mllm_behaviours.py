"""What endpoints do that people have: each is read, asked in another form, waited for, or named for what it is."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from actors.contracts import Outage, Verdict
from configs.schema import Judge
from serving.judge.pace import Pace
from serving.judge.service import VisualJudge
from tests.serving.judge.marks import MARKS

ANSWER = {
    "differences": [{"category": "text", "severity": 1, "where": "top", "what": "The title is missing."}],
    "feedback": "Add the title.",
    "marks": dict.fromkeys(MARKS["chart"], 4),
}
GOOD = json.dumps(ANSWER)
Reply = Callable[[dict[str, Any], int], web.Response]


def says(content: Any, finish: str = "stop", **message: Any) -> web.Response:
    whole = {"role": "assistant", "content": content} | message
    usage = {"prompt_tokens": 900, "completion_tokens": 100, "total_tokens": 1000}
    return web.json_response({"choices": [{"message": whole, "finish_reason": finish}], "usage": usage})


def refuses(text: str, status: int = 400) -> web.Response:
    return web.json_response({"error": {"message": text}}, status=status)


@asynccontextmanager
async def endpoint(reply: Reply) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
    """An endpoint that answers by `reply`(request, number of requests before), and the requests it got."""
    requests: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        requests.append(await request.json())
        return reply(requests[-1], len(requests) - 1)

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield requests, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def judged(url: str, pairs: list[tuple[bytes, bytes]], **settings: Any) -> tuple[list[Any], dict[str, float]]:
    """Verdicts or errors of pairs, one after the other, and what the judge counted."""
    judge = VisualJudge(replace(Judge(backend="mllm", url=url, deadline_s=60, retries=2), **settings))
    found: list[Any] = []
    try:
        for pair in pairs:
            try:
                found.append(await judge.compare(*pair, "chart"))
            except Outage as error:
                found.append(error)
        return found, judge.stats()
    finally:
        await judge.close()


def other(request: dict[str, Any], fault: str) -> web.Response:
    """A good answer, or a refusal by the rule `fault`."""
    text = json.dumps(request)
    match fault:
        case "max_tokens" if "max_tokens" in request:
            return refuses("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        case "any limit" if "max_tokens" in request or "max_completion_tokens" in request:
            name = "max_tokens" if "max_tokens" in request else "max_completion_tokens"
            return refuses(f"Unknown field {name}")
        case "temperature" if "temperature" in request:
            return refuses("Unsupported value: 'temperature' does not support 0 with this model.")
        case "seed" if "seed" in request:
            return refuses("Extra inputs are not permitted: seed", 422)
        case "maxLength" if "maxLength" in text.split('"messages"')[0] + json.dumps(request.get("response_format")):
            return refuses("Invalid schema for response_format: 'maxLength' is not permitted.")
        case "json_schema" if (request.get("response_format") or {}).get("type") == "json_schema":
            return refuses("response_format: json_schema is not supported, use json_object")
        case "response_format" if "response_format" in request:
            return refuses("response_format is not supported")
        case "everything" if "max_tokens" in request:
            return refuses("max_tokens is not supported")
        case "everything" if "temperature" in request:
            return refuses("temperature is not supported")
        case "everything" if "seed" in request:
            return refuses("seed is not supported")
        case "everything" if "response_format" in request:
            return refuses("response_format is not supported")
    return says(GOOD)


FORMS = ("max_tokens", "any limit", "temperature", "seed", "maxLength", "json_schema", "response_format", "everything")


@pytest.mark.parametrize("fault", FORMS)
async def test_a_form_that_is_refused_is_left_once_for_all(picture, fault: str) -> None:
    pairs = [(picture("red"), picture("blue")), (picture("red"), picture("green"))]
    async with endpoint(lambda request, n: other(request, fault)) as (requests, url):
        found, _ = await judged(url, pairs)
    assert [v.score for v in found] == [pytest.approx(0.4)] * 2, found
    refused = [request for request in requests if other(request, fault).status != 200]
    assert 1 <= len(refused) == len(requests) - 2  # the second question is in the right form at once
    if (requests[-1].get("response_format") or {}).get("type") != "json_schema":
        assert "one JSON object of this schema" in json.dumps(requests[-1]["messages"])


READ: dict[str, web.Response | Callable[[], web.Response]] = {
    "in a fence": lambda: says(f"```json\n{GOOD}\n```"),
    "with prose around": lambda: says(f"Here is my verdict:\n{GOOD}\nI hope that {{helps}}."),
    "thoughts with braces before": lambda: says(f'The set {{1, 2}} and {{"a": 1}} differ.\n{GOOD}'),
    "thoughts in tags": lambda: says(f'<think>maybe {{"marks": {{}}}} or so</think>{GOOD}'),
    "a total out of 100": lambda: says("The title is missing.\nScore: 40/100"),
    "a total out of 10": lambda: says("**Rating:** 4/10. The title is missing."),
    "marks as texts": lambda: says(json.dumps(ANSWER | {"marks": dict.fromkeys(MARKS["chart"], "4")})),
    "marks with a fraction": lambda: says(json.dumps(ANSWER | {"marks": dict.fromkeys(MARKS["chart"], 4.0)})),
    "marks out of ten": lambda: says(json.dumps(ANSWER | {"marks": dict.fromkeys(MARKS["chart"], "4/10")})),
    "other spellings": lambda: says(
        json.dumps(
            ANSWER
            | {
                "marks": {name.upper(): 4 for name in MARKS["chart"]},
                "differences": [{"category": "Color", "severity": "minor", "where": "bars", "what": "They are red."}],
            }
        )
    ),
    "content in parts": lambda: says([{"type": "text", "text": GOOD[:40]}, {"type": "text", "text": GOOD[40:]}]),
    "thoughts as a part": lambda: says([{"type": "reasoning", "text": "hm {"}, {"type": "text", "text": GOOD}]),
    "thoughts apart": lambda: says(GOOD, reasoning_content="I see {braces}."),
    "all in the thoughts": lambda: says("", reasoning_content=GOOD),
    "null with thoughts": lambda: says(None, reasoning=GOOD),
}


@pytest.mark.parametrize("how", READ)
async def test_an_answer_is_read_however_it_is_wrapped(picture, how: str) -> None:
    async with endpoint(lambda request, n: READ[how]()) as (requests, url):  # type: ignore[operator]
        [verdict], _ = await judged(url, [(picture("red"), picture("blue"))])
    assert isinstance(verdict, Verdict) and verdict.score == pytest.approx(0.4), verdict
    assert "title" in verdict.feedback and len(requests) == 1


NAMED = {
    "cut off": (lambda: says(GOOD[:60], "length"), "cut off after"),
    "refused": (lambda: says(None, refusal="I can't help with that."), "the model refuses: I can't help"),
    "filtered": (lambda: says("", "content_filter"), "content filter"),
    "empty": (lambda: says("  "), "it is empty"),
    "null": (lambda: says(None), "it is empty"),
    "an unknown model": (lambda: refuses("The model `x` does not exist", 404), "does not exist"),
    "a wrong key": (lambda: refuses("Incorrect API key", 401), "Incorrect API key"),
    "pictures not taken": (lambda: refuses("image_url is not supported by this model"), "image_url is not supported"),
}


@pytest.mark.parametrize("how", NAMED)
async def test_what_is_no_answer_is_named_for_what_it_is(picture, how: str) -> None:
    reply, words = NAMED[how]
    async with endpoint(lambda request, n: reply()) as (requests, url):
        [outage], _ = await judged(url, [(picture("red"), picture("blue"))])
    assert isinstance(outage, Outage) and words in str(outage), outage
    assert len(requests) <= 2


@pytest.mark.parametrize("how", ["cut off", "refused", "filtered", "empty"])
async def test_what_passes_is_asked_again(picture, how: str) -> None:
    async with endpoint(lambda request, n: NAMED[how][0]() if n == 0 else says(GOOD)) as (requests, url):
        [verdict], _ = await judged(url, [(picture("red"), picture("blue"))])
    assert isinstance(verdict, Verdict) and verdict.score == pytest.approx(0.4)
    if how == "cut off":
        assert requests[1]["max_tokens"] == 2 * requests[0]["max_tokens"]


@pytest.mark.parametrize("header", ["number", "date", "ms"])
async def test_nobody_asks_before_a_retry_after_has_passed(picture, header: str) -> None:
    asked: list[float] = []

    def reply(request: dict[str, Any], n: int) -> web.Response:
        asked.append(time.monotonic())
        after = {"number": "1", "date": formatdate(time.time() + 2, usegmt=True), "ms": "1000"}[header]
        name = "retry-after-ms" if header == "ms" else "Retry-After"
        return web.json_response({}, status=429, headers={name: after}) if n == 0 else says(GOOD)

    async with endpoint(reply) as (_, url):
        [verdict], _ = await judged(url, [(picture("red"), picture("blue"))])
    assert verdict.score == pytest.approx(0.4)
    assert asked[1] - asked[0] >= 0.9


async def test_several_answers_and_both_orders_count_by_their_mean(picture) -> None:
    def reply(request: dict[str, Any], n: int) -> web.Response:
        first = request["messages"][1]["content"][0]["text"]
        mark = 8 if first == "TARGET:" else 2
        return says(json.dumps(ANSWER | {"marks": dict.fromkeys(MARKS["chart"], mark)}))

    async with endpoint(reply) as (requests, url):
        [verdict], stats = await judged(url, [(picture("red"), picture("blue"))], samples=3, both_orders=True)
    assert verdict.score == pytest.approx(0.5) and verdict.sub_scores["data"] == pytest.approx(0.5)
    assert len(requests) == 6 and len({r["seed"] for r in requests}) == 3
    assert all(r["temperature"] > 0 for r in requests)
    assert stats["requests"] == 6 and stats["prompt_tokens"] == 5400 and stats["completion_tokens"] == 600


async def test_requests_and_tokens_a_minute_are_kept(monkeypatch) -> None:
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr("serving.judge.pace.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("serving.judge.pace.asyncio.sleep", sleep)
    starts = []
    pace = Pace(requests=3, tokens=0)
    for _ in range(7):
        await pace.wait()
        starts.append(clock[0])
    assert starts == [0, 0, 0, 60, 60, 60, 120]
    pace, starts = Pace(requests=0, tokens=2500), []
    for _ in range(4):
        await pace.wait()
        starts.append(clock[0])
        pace.used(1000)
    assert starts == [120, 120, 180, 180]


def test_a_pace_without_limits_waits_for_nobody() -> None:
    async def many() -> None:
        pace = Pace(0, 0)
        for _ in range(1000):
            await pace.wait()

    asyncio.run(asyncio.wait_for(many(), 5))
