"""The HTTP client of the vision-language judge against an endpoint that misbehaves, over real sockets."""

import asyncio
import base64
import logging
from dataclasses import replace
from unittest.mock import patch

import pytest

from actors.contracts import Outage
from configs.schema import Judge
from serving.http.retry import TRIP, Caller, Slow
from serving.judge.mllm_endpoint import KEY
from serving.judge.service import VisualJudge
from tests.serving.http.faulty import serve


async def ask(url: str, picture, pairs: int = 1, **settings) -> list:
    """Verdicts or errors of `pairs` different pairs asked at once, each by its deadline."""
    judge = VisualJudge(replace(Judge(backend="mllm", url=url, deadline_s=30, retries=3), **settings))
    pictures = [picture("red", (168, 140 + n)) for n in range(pairs)]
    try:
        async with asyncio.timeout(120):
            return await asyncio.gather(
                *(judge.compare(one, picture("blue"), "chart") for one in pictures), return_exceptions=True
            )
    finally:
        await judge.close()


@pytest.mark.parametrize("fault", ["busy", "error", "reset", "truncated", "half", "other", "malformed"])
async def test_a_fault_that_passes_ends_in_a_verdict(picture, fault: str) -> None:
    async with serve(fault, "fine") as (faulty, url):
        [verdict] = await ask(url, picture)
    assert not isinstance(verdict, Exception) and verdict.score == pytest.approx(0.4), verdict
    assert len(faulty.requests) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("hang", "no verdict within"),
        ("busy", "HTTP 429"),
        ("error", "HTTP 500"),
        ("reset", "ServerDisconnected"),
        ("truncated", "ClientPayload"),
        ("half", "else than JSON"),
        ("malformed", "no verdict, twice"),
    ],
)
async def test_a_fault_that_stays_is_an_outage_by_the_deadline(picture, fault: str, words: str) -> None:
    async with serve(fault) as (_, url):
        [outage] = await ask(url, picture, retries=2, deadline_s=3 if fault == "hang" else 30)
    assert isinstance(outage, Outage) and words in str(outage), outage


async def test_an_attempt_that_hangs_leaves_time_for_another(picture) -> None:
    async with serve("hang", "fine") as (faulty, url):
        [verdict] = await ask(url, picture, deadline_s=4)
    assert verdict.score == pytest.approx(0.4) and len(faulty.requests) == 2


async def test_a_judge_that_is_slow_is_not_taken_for_one_that_is_down() -> None:
    """Time-outs are counted and tried again, but leave the circuit closed: others are still asked side by side."""
    caller = Caller("judge", retries=TRIP, concurrency=1)

    async def slow() -> None:
        raise Slow("no answer in time")

    with pytest.raises(Outage, match="no answer in time"), patch("serving.http.retry.BACKOFF_S", 0.0):
        await caller.call(slow)
    assert caller.failures == TRIP + 1 and not caller.open


async def test_nobody_there_is_an_outage(picture) -> None:
    async with serve("fine") as (_, url):
        pass
    [outage] = await ask(url, picture, retries=1)
    assert isinstance(outage, Outage) and "127.0.0.1" in str(outage)


async def test_a_refusal_is_said_at_once_and_shows_no_key(picture, monkeypatch) -> None:
    monkeypatch.setenv(KEY, "s3cret")
    async with serve("forbidden") as (faulty, url):
        [outage] = await ask(url, picture)
    assert isinstance(outage, Outage) and "401" in str(outage) and "wrong key" in str(outage)
    assert len(faulty.requests) == 1 and faulty.authorization == ["Bearer s3cret"]
    assert "s3cret" not in str(outage)


async def test_requests_are_bounded_and_connections_shared(picture) -> None:
    async with serve("slow") as (faulty, url):
        verdicts = await ask(url, picture, pairs=12, concurrency=3)
    assert [v.score for v in verdicts] == [pytest.approx(0.4)] * 12
    assert faulty.most_at_once == 3


async def test_an_endpoint_that_is_down_is_not_stormed(picture) -> None:
    """Forty callers with three retries each would send 160 requests; the open circuit lets a handful through."""
    async with serve("error") as (faulty, url):
        outages = await ask(url, picture, pairs=40, concurrency=8, deadline_s=4)
    assert all(isinstance(o, Outage) for o in outages)
    assert len(faulty.requests) <= 8 + 8 + 4  # those under way when it opened, and the probes since


async def test_a_circuit_closes_when_the_endpoint_is_back(picture) -> None:
    async with serve(*["error"] * 7, "fine") as (_, url):
        found = await ask(url, picture, pairs=12, concurrency=4, deadline_s=60, retries=8)
    assert [v.score for v in found] == [pytest.approx(0.4)] * 12


async def test_without_a_name_the_first_model_that_is_listed_is_asked_and_named(picture, caplog) -> None:
    caplog.set_level("INFO", "ray.serve")
    with patch.object(logging.getLogger("ray.serve"), "propagate", True):
        async with serve("fine") as (faulty, url):
            verdicts = await ask(url, picture, pairs=3)
    assert [v.score for v in verdicts] == [pytest.approx(0.4)] * 3
    assert [request["model"] for request in faulty.requests] == ["first"] * 3
    messages = {id(r): r.message for r in caplog.records}  # one record comes twice where Ray has set up logging before
    assert list(messages.values()) == [f"judge: asks first, the first model that {url} lists"]


async def test_an_endpoint_that_lists_no_model_is_an_outage_that_says_what_to_set(picture) -> None:
    async with serve("fine") as (faulty, url):
        faulty.listed.clear()
        [outage] = await ask(url, picture, retries=1)
    assert isinstance(outage, Outage) and "/models lists none: set judge.model" in str(outage)


async def test_the_request_is_what_an_endpoint_expects(picture) -> None:
    async with serve("fine") as (faulty, url):
        await ask(url, picture, model="a/judge")
    [request] = faulty.requests
    system, user = request["messages"]
    assert request["model"] == "a/judge" and request["temperature"] == 0 and request["seed"] == 0
    assert request["response_format"]["json_schema"]["strict"] is True
    assert system["role"] == "system" and isinstance(system["content"], str)
    images = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
    sent = [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in images]
    assert sent == [picture("red", (168, 140)), picture("blue")]
