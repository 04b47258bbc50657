"""The vision-language judge end to end on real vLLM: our own Serve deployment, and vLLM's own HTTP server.

The model is a tiny untrained Qwen2.5-VL: its words and marks mean nothing, but structured output makes each of its
answers a verdict.
"""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from ray import serve

from actors import local_ray
from actors.contracts import Outage, Verdict
from actors.engine.build import prepare_environment
from configs.schema import Config, Engine, Judge
from serving.judge.service import JudgeClient, VisualJudge, deployment
from tests.serving.judge.marks import MARKS

START_S = 600
COLOURS = ("blue", "green", "black", "orange", "purple", "brown")


@pytest.fixture(scope="module")
def settings(tiny_model: Path) -> Judge:
    return Judge(
        backend="mllm", model=str(tiny_model), max_model_len=4096, max_chars=120, max_differences=3, deadline_s=300
    )


@pytest.fixture(scope="module")
def handle(settings: Judge) -> Iterator[object]:
    """Handle of the judge's own deployment in a cluster of its own."""
    local_ray.start(4)
    serve.start(proxy_location="Disabled")
    try:
        yield serve.run(deployment(Config(judge=settings)), name="judge", route_prefix=None)
    finally:
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def endpoint(settings: Judge) -> Iterator[str]:
    """Base URL of vLLM's HTTP server for the same model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    prepare_environment(Engine())
    options = {
        "model": settings.model, "served-model-name": "tiny", "host": "127.0.0.1", "port": port,
        "max-model-len": 4096, "max-num-seqs": 16, "block-size": 32, "kv-cache-memory-bytes": 2**28,
        "limit-mm-per-prompt": '{"image":2,"video":0}', "generation-config": "vllm",
        "structured-outputs-config": '{"backend":"xgrammar","disable_any_whitespace":true}',
    }  # fmt: skip
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager", "--skip-mm-profiling"]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(START_S):
                assert server.poll() is None, "vLLM's server did not start"
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def check(verdicts: list[Verdict], domain: str) -> None:
    assert len(verdicts) == len(COLOURS)
    for verdict in verdicts:
        assert isinstance(verdict, Verdict), verdict
        assert set(verdict.sub_scores) == set(MARKS[domain]) and 0 <= verdict.score <= 1
        assert verdict.backend == "mllm" and len(verdict.differences) <= 3 and len(verdict.feedback) <= 120


@pytest.mark.parametrize("domain", ["chart", "web"])
def test_every_answer_of_our_deployment_is_a_verdict(
    handle: object, settings: Judge, picture: Callable[..., bytes], domain: str
) -> None:
    async def ask() -> list[Verdict]:
        client = JudgeClient(handle, Config(judge=settings))
        return await asyncio.gather(*(client.compare(picture("red"), picture(c), domain) for c in COLOURS))

    check(asyncio.run(ask()), domain)
    stats = handle.stats.remote().result(timeout_s=60)  # type: ignore[attr-defined]
    assert stats["malformed"] == 0 and stats["failures"] == 0


def test_greedy_answers_repeat(handle: object, picture: Callable[..., bytes], settings: Judge) -> None:
    """A second front with an empty cache gets the same verdict from the same engine."""
    engine = serve.get_deployment_handle("MllmEngine", "judge")

    async def ask() -> Verdict:
        return await VisualJudge(settings, engine).compare(picture("red"), picture("blue"), "chart")

    assert asyncio.run(ask()) == asyncio.run(ask())


def test_guards_stand_before_the_model(handle: object, picture: Callable[..., bytes], settings: Judge) -> None:
    async def ask(render: bytes, target: bytes = picture("red")) -> Verdict:
        return await JudgeClient(handle, Config(judge=settings)).compare(target, render, "chart")

    assert asyncio.run(ask(picture("red"))).score == 1
    assert asyncio.run(ask(picture("white"))).score == 0
    assert asyncio.run(ask(b"no picture")).score == 0
    with pytest.raises(ValueError, match="not a readable image"):
        asyncio.run(ask(picture("red"), b"no picture"))


def test_a_deadline_that_is_too_short_is_an_outage(
    handle: object, picture: Callable[..., bytes], settings: Judge
) -> None:
    client = JudgeClient(handle, Config(judge=replace(settings, deadline_s=0.02)))
    with pytest.raises(Outage, match=r"judge\.deadline_s"):
        asyncio.run(client.compare(picture("red"), picture("pink"), "chart"))


def test_vllms_own_server_answers_our_client(endpoint: str, settings: Judge, picture: Callable[..., bytes]) -> None:
    async def ask() -> list[Verdict]:
        judge = VisualJudge(replace(settings, url=endpoint, model="tiny"))
        try:
            found = await asyncio.gather(*(judge.compare(picture("red"), picture(c), "chart") for c in COLOURS))
            assert judge.stats()["malformed"] == 0
            return found
        finally:
            await judge.close()

    check(asyncio.run(ask()), "chart")


def test_a_model_the_server_does_not_have_is_an_outage_at_once(
    endpoint: str, settings: Judge, picture: Callable[..., bytes]
) -> None:
    async def ask() -> Verdict:
        judge = VisualJudge(replace(settings, url=endpoint, model="another"))
        try:
            return await judge.compare(picture("red"), picture("blue"), "chart")
        finally:
            await judge.close()

    with pytest.raises(Outage, match=r"HTTP 404.*another"):
        asyncio.run(ask())
