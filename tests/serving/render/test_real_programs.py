"""Programs that a real model wrote and charts that people drew end as they did; the same source, the same bytes.

A fixed sample of them by default, all of them with RRVF_ALL=1.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from actors.contracts import RenderResult
from configs.schema import Render, Sandbox
from serving.render.charts import ChartRenderer
from tests.data import real
from tests.serving.jailed.canaries import family

EVERY = 1 if os.environ.get("RRVF_ALL") else 6
PATIENT = Render(sandbox=Sandbox(cpu_s=30, wall_s=300))
DRIFT = {"box_16": "unexpected keyword argument 'labels'"}  # Axes.boxplot(labels=) was removed after Matplotlib 3.8


def model_programs() -> list[dict]:
    """Rows with id, code and ran_in_matplotlib_3_8_4; those that drift are always among them."""
    rows = [json.loads(line) for line in real("vlm_programs.jsonl").read_text().splitlines()]
    return [row for number, row in enumerate(rows) if number % EVERY == 0 or row["id"] in DRIFT]


def gallery() -> list[Path]:
    return sorted(real("charts").glob("*.py"))[::EVERY]


def drawn(programs: list[str], workers: int) -> list[RenderResult]:
    """Results in order, by so many renderers at once that take the next program each when they are free."""
    results: dict[int, RenderResult] = {}

    async def run() -> None:
        left = iter(range(len(programs)))

        async def side() -> None:
            renderer = ChartRenderer(PATIENT)
            for index in left:
                results[index] = await renderer.render(programs[index])
            await renderer.close()

        await asyncio.gather(*(side() for _ in range(workers)))

    asyncio.run(run())
    return [results[index] for index in range(len(programs))]


@pytest.fixture(scope="module")
def model() -> dict[str, tuple[bool, RenderResult]]:
    """By id: whether the program ran when it was written, and what became of it here."""
    rows = model_programs()
    results = drawn([row["code"] for row in rows], 2)
    return {row["id"]: (row["ran_in_matplotlib_3_8_4"], result) for row, result in zip(rows, results, strict=True)}


def test_programs_of_a_model_end_as_they_did(model: dict[str, tuple[bool, RenderResult]]) -> None:
    wrong = {name for name, (ran, result) in model.items() if ran != result.ok}
    print(f"{len(model) - len(wrong)} of {len(model)} end as they did; drift: {sorted(wrong)}")
    assert wrong <= DRIFT.keys()
    for name in wrong:
        assert DRIFT[name] in model[name][1].message


def test_a_failed_program_gets_its_fault_as_a_message(model: dict[str, tuple[bool, RenderResult]]) -> None:
    failed = {name: result for name, (_, result) in model.items() if not result.ok}
    assert failed
    for name, result in failed.items():
        assert result.kind in ("syntax", "exception"), name
        assert "(line " in result.message and "Error: " in result.message, result.message


def test_charts_of_people_render() -> None:
    charts = gallery()
    results = drawn([path.read_text() for path in charts], 2)
    assert [path.name for path, result in zip(charts, results, strict=True) if not result.ok] == []


def test_the_same_source_gives_the_same_bytes_on_other_workers_after_a_kill_and_at_once(
    model: dict[str, tuple[bool, RenderResult]],
) -> None:
    programs = {row["id"]: row["code"] for row in model_programs() if row["id"] in list(model)[::3]}

    async def one(work: Callable[[ChartRenderer], Awaitable[list[RenderResult]]]) -> list[RenderResult]:
        renderer = ChartRenderer(PATIENT)
        try:
            return await work(renderer)
        finally:
            await renderer.close()

    async def with_kills(renderer: ChartRenderer) -> list[RenderResult]:
        results = []
        for number, program in enumerate(programs.values()):
            results.append(await renderer.render(program))
            if number % 4 == 0:
                for pid in {member for jail in renderer.pids for member in family(jail)}:
                    with contextlib.suppress(ProcessLookupError):  # it went with its jail
                        os.kill(pid, signal.SIGKILL)
        assert renderer.starts > 2
        return results

    async def all_at_once(renderer: ChartRenderer) -> list[RenderResult]:
        return await asyncio.gather(*map(renderer.render, programs.values()))

    killed, crowded = asyncio.run(one(with_kills)), asyncio.run(one(all_at_once))
    assert len(programs) >= 10
    for name, again, once_more in zip(programs, killed, crowded, strict=True):
        assert model[name][1].png == again.png == once_more.png, name
        assert model[name][1].message == again.message == once_more.message, name
