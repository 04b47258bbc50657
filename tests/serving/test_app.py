"""The HTTP door before anything is started: what is missing or taken is one clear line."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from configs.load import ConfigError, load
from configs.runs import checkpoint_path, latest
from serving.app import api, free_port, newest_model, streamed
from serving.http.guard import FREE

ROOT = Path(__file__).parents[2]


def test_a_taken_port_is_named_with_the_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: .*http\.port=PORT"):
            free_port("127.0.0.1", port)


def test_the_newest_finished_checkpoint_is_served(tmp_path: Path) -> None:
    config = load(None, [f"run.dir={tmp_path}"])
    with pytest.raises(ConfigError, match="train one first"):
        newest_model(config)
    run = tmp_path / "a"
    for step in (5, 10):
        checkpoint_path(run, step).mkdir(parents=True)
    (run / "checkpoints" / ".step_000015").mkdir()  # still being written
    (tmp_path / "latest").symlink_to("a")
    assert latest(run) == checkpoint_path(run, 10)
    assert newest_model(config) == str(checkpoint_path(run, 10))


def test_serving_without_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "serving.app", "configs/tiny_chart.yaml", f"run.dir={tmp_path}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == [
        f"error: no checkpoint under {tmp_path}/latest; train one first (make train) or name one: model=DIR"
    ]


@pytest.mark.parametrize(("stalls", "last"), [(False, "b"), (True, "no answer within 0.2 s")])
async def test_a_stream_that_stands_still_says_so_and_ends(stalls: bool, last: str) -> None:
    async def frames() -> AsyncIterator[str]:
        yield "a"
        if stalls:
            await asyncio.Event().wait()
        yield "b"

    response = await streamed(0.2 if stalls else 30, frames())
    async with asyncio.timeout(30):
        seen = [text async for text in response.body_iterator]  # type: ignore[attr-defined]
    assert len(seen) == 2 and seen[0] == "a" and last in seen[1]


def test_the_routes_without_a_limit_exist_and_are_no_work() -> None:
    table = {route.path: getattr(route, "methods", None) or {"GET"} for route in api.routes}
    mounted = {"/", "/pages", "/runs", "/docs"}  # by the replica, when it starts
    assert set(FREE) - set(table) <= mounted
    posted = {path for path, methods in table.items() if "POST" in methods}
    assert posted - set(FREE) == {"/v1/image-to-code", "/v1/chat/completions", "/render", "/judge"}
