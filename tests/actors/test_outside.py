"""A function of the user's in a process of its own: its results, and everything else that it may do."""

import asyncio
from pathlib import Path

import pytest

from actors.contracts import Outage
from actors.outside import Outside

OWN = str(Path(__file__).parent / "own.py")


async def called(name: str, limit_s: float = 30.0, times: int = 1) -> tuple[list[object], dict[str, int]]:
    own = Outside("judge", f"{OWN}:{name}", limit_s)
    found: list[object] = []
    try:
        for _ in range(times):
            try:
                found.append(await own(b"123", b"12", "chart"))
            except Outage as outage:
                found.append(outage)
    finally:
        await own.close()
    return found, own.counts


async def test_a_function_is_called_in_one_process_that_stays() -> None:
    found, counts = await called("judge", times=3)
    assert found == [(2 / 3, f"call {n} of chart") for n in (1, 2, 3)]
    assert counts == {"raised": 0, "hung": 0, "died": 0}


@pytest.mark.parametrize(
    ("name", "expected", "count"),
    [
        ("raises", "own.py:raises raised KeyError: 'no such colour'", "raised"),
        ("dies", "own.py:dies ended its process", "died"),
        ("leaves", "own.py:leaves ended its process", "died"),
        ("lambdas", "own.py:lambdas raised ", "raised"),
        ("absent", "own.py:absent cannot be used: the file has no function absent", "raised"),
    ],
)
async def test_what_fails_is_an_outage_that_names_it_each_time(name: str, expected: str, count: str) -> None:
    found, counts = await called(name, times=2)
    assert all(isinstance(one, Outage) and expected in str(one) and "\n" not in str(one) for one in found)
    assert counts[count] == 2


@pytest.mark.parametrize("name", ["hangs", "spins"])
async def test_a_function_that_hangs_is_killed_and_the_next_call_has_a_new_process(name: str) -> None:
    found, counts = await called(name, limit_s=0.5, times=2)
    assert [str(one) for one in found] == [f"judge: {OWN}:{name} gave nothing within 0.5 s"] * 2
    assert counts["hung"] == 2


async def test_what_a_function_prints_is_no_answer() -> None:
    found, _ = await called("wordy", times=2)
    assert found == ["very similar"] * 2


async def test_a_caller_that_gives_up_leaves_no_answer_for_the_next() -> None:
    own = Outside("judge", f"{OWN}:judge", 30.0)
    try:
        task = asyncio.create_task(own(b"1" * 10, b"1", "given up"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await own(b"123", b"12", "chart"))[0] == 2 / 3
    finally:
        await own.close()
