"""Where a step's time went, on traces whose answer is known."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.viewer.run_folder import Query, RunFolder
from serving.viewer.step_time import CAUSES, Played, causes, explain, idle, token_seconds
from tests.training.run.made_run import STEP_S, WAIT_S, make

FIGURES = {"ended_ms": 110_000, "step_s": 10.0, "wait_s": 7.0, "prepare_s": 0.5, "update_s": 1.5, "sync_s": 0.75}


def played(group: int, began: float, *spans: tuple[str, float, float]) -> Played:
    return Played(group, began, spans[-1][2], tuple((n, a, b, b - a, 10 * (n == "generation")) for n, a, b in spans))


def test_the_wait_is_put_down_to_the_member_that_ended_last() -> None:
    """Step from 100 to 110, waiting until 107; the last group ends at 106.5, half of it at 105."""
    early = [played(0, 95.0, ("generation", 95.0, 100.5))] * 2
    last = [
        played(1, 101.0, ("generation", 101.0, 105.0)),
        played(1, 101.0, ("generation", 101.0, 102.0), ("render", 102.0, 103.5), ("judge", 103.5, 104.0)),
        played(1, 101.0, ("generation", 101.0, 102.5), ("render", 102.5, 104.5), ("judge", 104.5, 106.5)),
    ]
    found = causes(FIGURES, [early, last])
    assert found["admission"] == pytest.approx(1.0)  # 100 to 101: the group had not begun
    assert found["generation"] == pytest.approx(1.5) and found["render"] == pytest.approx(2.0)
    assert found["judge"] == pytest.approx(0.5) and found["tail"] == pytest.approx(1.5)
    assert found["queue"] == pytest.approx(0.5)
    assert found["learner"] == 2.0 and found["sync"] == 0.75 and found["other"] == pytest.approx(0.25)
    assert sum(found.values()) == pytest.approx(10.0)


def test_a_batch_that_was_ready_cost_no_rollout() -> None:
    ready = [played(0, 90.0, ("generation", 90.0, 99.0))]
    found = causes(FIGURES | {"wait_s": 0.1, "step_s": 3.0}, [ready])
    assert found["queue"] == pytest.approx(0.1) and found["generation"] == found["tail"] == 0


def test_idle_counts_time_without_requests_once() -> None:
    alive = [
        played(0, 0.0, ("generation", 0.0, 4.0), ("render", 4.0, 6.0)),
        played(0, 0.0, ("generation", 2.0, 5.0), ("render", 8.0, 9.0)),
    ]
    steady = [{"wait_s": 2.5, "step_s": 10.0}]
    found = idle(alive, (0.0, 10.0), steady, None)
    assert found["engine"] == pytest.approx(0.5)  # 0 to 5 of 10
    assert found["generation_requests"] == pytest.approx(0.7) and found["learner"] == 0.25


def test_seconds_a_token_by_requests_at_once() -> None:
    """Alone 0.1 s a token, two at once 0.15 s: a = b = 0.05."""
    alone = Played(0, 0.0, 1.0, (("generation", 0.0, 1.0, 1.0, 10),))
    pair = [Played(1, 5.0, 6.5, (("generation", 5.0, 6.5, 1.5, 10),)) for _ in range(2)]
    assert token_seconds([alone, *pair], 1) == pytest.approx((0.05, 0.05))


def test_a_run_is_explained_from_its_folder(tmp_path: Path) -> None:
    run = RunFolder(make(tmp_path / "run", steps=12))
    run.refresh()
    found = explain(run)
    assert found["counted"] == 10 and found["step_s"] == pytest.approx(STEP_S)
    for row in found["by_step"]:
        assert sum(row[c] for c in CAUSES) == pytest.approx(STEP_S, abs=0.01)
    assert found["idle"]["learner"] == pytest.approx(WAIT_S / STEP_S)
    assert {row["state"]: row["groups"] for row in found["wasted"]} == {"consumed": 39, "stale": 9}
    assert sum(row["share"] for row in found["wasted"]) == pytest.approx(1)
    assert found["next_units"][0]["unit"] == "one more render process"


def test_a_long_run_is_read_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Line(dict[str, Any]):
        """A group's line with all its texts."""

    alive: weakref.WeakSet[Line] = weakref.WeakSet()
    most = 0

    def groups(run: RunFolder) -> Iterator[dict[str, Any]]:
        nonlocal most
        for row in run.find(Query(sort="oldest")):
            line = Line(run.read(row))
            alive.add(line)
            most = max(most, len(alive))
            yield line

    Line.__hash__ = object.__hash__  # type: ignore[assignment, method-assign]
    monkeypatch.setattr(RunFolder, "groups", groups)
    run = RunFolder(make(tmp_path / "run", steps=12))
    run.refresh()
    assert explain(run)["counted"] == 10
    assert 1 <= most <= 2  # of 48


def test_an_empty_run_is_not_explained(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run")
    run.refresh()
    assert explain(run) == {"steps": 0}
