"""Every figure of the original evaluators, pair by pair."""

import asyncio

import pytest

from tests.data import real
from training.metrics.official import BENCHMARKS, LIMITS, Row, compared, markdown


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_scores_are_the_originals(benchmark: str) -> None:
    async def run() -> list[Row]:
        return [row async for row in compared(real("official"), benchmark, official=True)]

    rows = asyncio.run(run())
    print(markdown(rows))
    assert len(rows) >= 20
    for row in rows:
        if row.by_chance:  # its filter of colours goes by the order of a hash
            assert row.low - 0.005 <= row.official <= row.high + 0.005, row
        else:
            assert abs(row.difference) <= LIMITS[benchmark], row
    assert sum(row.by_chance for row in rows) <= 1
    assert any(0 < row.official < 1 for row in rows)
