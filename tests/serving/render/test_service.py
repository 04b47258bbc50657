"""One render for equal requests, a bounded memory of finished ones, outages that stay outages, and the command line."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.exceptions import BackPressureError

from actors.contracts import Outage, RenderResult
from configs.schema import Config, Render, Sandbox
from serving.render.__main__ import main
from serving.render.service import RenderClient, Renders

CHART = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.plot([1, 2])\n"


@pytest.fixture
async def renders() -> Any:
    service = Renders(Render(sandbox=Sandbox(cpu_s=1, wall_s=3)))
    yield service
    await service.close()


async def test_equal_requests_in_flight_share_one_render_and_later_ones_the_memory(renders: Renders) -> None:
    results = await asyncio.gather(*(renders.render(CHART) for _ in range(5)))
    again = await renders.render(CHART)
    stats = renders.stats()
    assert all(result is results[0] and result.ok for result in [*results, again])
    assert (stats["asked"], stats["joined"], stats["hits"], stats["cached"]) == (6, 4, 1, 1)
    assert stats["layers"] == ["namespaces", "landlock", "seccomp", "limits"]


async def test_the_one_who_asked_first_may_leave_without_taking_the_picture_along(renders: Renders) -> None:
    first = asyncio.ensure_future(renders.render(CHART))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(renders.render(CHART))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).ok
    assert first.cancelled()


async def test_nobody_draws_what_nobody_waits_for_any_more(renders: Renders) -> None:
    first = asyncio.ensure_future(renders.render("import time\ntime.sleep(1)\n" + CHART))
    await asyncio.sleep(0)
    gone = [asyncio.ensure_future(renders.render(f"while True: pass  # {number}")) for number in range(2)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    assert (await first).ok and (await renders.render(CHART)).ok
    stats = renders.stats()
    assert (stats["asked"], stats["timeout"]) == (4, 0)
    assert (await renders.render("while True: pass  # 0")).kind == "timeout"


async def test_a_timeout_is_counted_and_not_remembered(renders: Renders) -> None:
    for _ in range(2):
        assert (await renders.render("while True: pass")).kind == "timeout"
    stats = renders.stats()
    assert (stats["timeout"], stats["cached"], stats["hits"]) == (2, 0, 0)


async def test_chart_and_page_of_the_same_text_are_different_and_other_domains_an_error(renders: Renders) -> None:
    chart, page = await asyncio.gather(renders.render(CHART, "chart"), renders.render(CHART, "web"))
    assert chart.ok and page.ok and chart.size == (200, 100) and page.size == (1280, 720)
    with pytest.raises(ValueError, match="must be one of chart"):
        await renders.render(CHART, "sound")  # type: ignore[arg-type]


async def test_the_memory_is_bounded_in_bytes_and_forgets_the_oldest() -> None:
    service = Renders(Render(cache_mb=1))
    drawn: list[str] = []

    async def draw(key: bytes, source: str, domain: str) -> RenderResult:
        drawn.append(source)
        return RenderResult(True, 0.0, png=bytes(300_000), size=(1, 1))

    service._draw = draw  # type: ignore[method-assign,assignment]
    for source in ("a", "b", "c", "a", "d", "b", "a"):
        await service.render(source)
    assert drawn == ["a", "b", "c", "d", "b"]
    assert service.stats()["cached_mb"] <= 1


class Handle:
    """A Serve handle that answers what the test sets, one after the other."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)
        self.render = SimpleNamespace(remote=self._remote)

    async def _remote(self, source: str, domain: str) -> RenderResult:
        answer = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            await asyncio.sleep(60)
        return answer


DONE = RenderResult(True, 0.1, png=b"x", size=(1, 1))


def client(*answers: Any, deadline_s: float = 10.0) -> RenderClient:
    return RenderClient(Handle(*answers), Config(render=Render(deadline_s=deadline_s)))


async def test_a_full_queue_is_waited_for_and_a_lost_replica_tried_again() -> None:
    full = BackPressureError(num_queued_requests=1, max_queued_requests=1)
    assert await client(full, full, full, full, RuntimeError("the actor died"), DONE).render("x", "chart") is DONE


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((None,), "no answer in 1 s"),
        ((RuntimeError("the actor died"),), "the actor died"),
        ((Outage("render", "the chart server does not start"),), "does not start"),
        ((BackPressureError(num_queued_requests=1, max_queued_requests=1),), "no answer in 1 s"),
    ],
)
async def test_what_does_not_answer_is_an_outage_and_never_a_result(answers: Any, words: str) -> None:
    with pytest.raises(Outage, match=words):
        await client(*answers, deadline_s=1.0 if "no answer" in words else 30.0).render("x", "chart")


def test_the_command_prints_one_json_line_an_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(CHART)
    bad.write_text("plot(")
    argv = [str(good), str(bad), str(tmp_path / "none.py"), "--out", str(tmp_path / "out")]
    assert main(argv) == 1  # for the file that is not there
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == [None, "syntax", "unreadable"]
    assert Path(lines[0]["png"]).read_bytes()[:4] == b"\x89PNG"
    assert all({"path", "ok", "kind", "message", "seconds", "png"} == set(line) for line in lines)
