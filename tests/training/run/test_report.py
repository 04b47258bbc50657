"""What a run leaves behind: figures from its own files, by hand."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from actors.replay.ledger import Entry, State
from training.evaluation.heldout import Row, difference_ci95, scores
from training.run import report


def png(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(out, "PNG")
    return out.getvalue()


def rows(folder: Path, executed: list[bool]) -> list[Row]:
    found = []
    for i, ran in enumerate(executed):
        path = folder / f"{i}.png"
        path.write_bytes(png("white"))
        found.append(
            Row(
                str(path),
                ran,
                0.5 * ran,
                "<x>",
                "x",
                png("red") if ran else None,
                10,
                {"kind": float(ran)},
                {"kind": 0.0},
            )
        )
    return found


def entry(step: int, reward: float, state: State = "consumed") -> Entry:
    return Entry(0, 0, "w", state, 0, step=step, reward=reward, members=("done", "done"))


METRIC = {"reward": 0.1, "exec_rate": 0.5, "similarity": 0.2, "staleness_mean": 1.0, "staleness_max": 2.0}


def test_summary_adds_up(tmp_path: Path) -> None:
    old, new = rows(tmp_path, [True, False, False, False]), rows(tmp_path, [True, True, True, False])
    sides = [{"heldout": {"sampled": r, "greedy": r}} for r in (old, new)]
    metrics = [{**METRIC, "step": s, "version": s, "sync_running": s, "mismatch_k3": 0.1} for s in (1, 2, 3)]
    entries = [entry(s, s * 0.1 + d) for s in (0, 1, 2) for d in (0.0, 0.02)] + [entry(-1, 0.0, "stale")]
    facts = {"wall_s": 9.0, "setup_s": 1.0, "bound": 2, "engine": "e", "model": "m", "seed": 0}
    found = report.summary(metrics, entries, *sides, facts)
    pair = found["evaluation"]["heldout"]["sampled"]
    assert pair["before"]["exec_rate"] == 0.25 and pair["after"]["exec_rate"] == 0.75
    for figure in ("runs", "kind"):
        mean, low, high = found["changes"]["heldout"]["sampled"][figure]
        assert mean == pytest.approx((low + high) / 2, abs=1e-3) == 0.5
        assert high - low == pytest.approx(2 * 1.96 * (1 / 3) ** 0.5 / 2, abs=1e-3)
    assert found["changes"]["heldout"]["greedy"]["similarity"][0] == 0.25
    assert found["ledger"]["consumed"] == 6 and found["ledger"]["stale"] == 1
    assert found["trajectories"] == 14
    assert found["staleness"] == {"mean": 1.0, "max": 2.0, "bound": 2}
    assert found["weight_versions"] == 3 and found["in_flight_syncs"] == 3
    report.write(tmp_path, found, metrics, *sides)
    assert json.loads((tmp_path / "summary.json").read_text()) == found
    for name in ("reward.png", "before_after.png"):
        assert Image.open(tmp_path / name).width > 300
    text = (tmp_path / "summary.md").read_text()
    assert "| kind | 25.0% -> 75.0% | -6.6 to +106.6 | 25.0% -> 75.0% | -6.6 to +106.6 | 0.0% |" in text


def test_reward_gain_by_hand() -> None:
    trained = [entry(0, 0.0), entry(0, 0.2), entry(1, 1.0), entry(1, 1.2)]
    found = report.reward_gain(trained)
    assert (found["first"], found["last"]) == (0.1, 1.1)
    assert found["delta_ci95"] == pytest.approx([1 - 1.96 * 0.1414214, 1 + 1.96 * 0.1414214], abs=1e-3)


def test_a_part_that_was_not_measured_is_null() -> None:
    facts = {"wall_s": 1.0, "setup_s": 1.0, "bound": 2, "engine": "e", "model": "m", "seed": 0}
    found = report.summary([], [], {}, {}, facts)
    assert found["changes"] == {} and found["evaluation"] == {}
    assert found["reward"]["first"] is None and found["mismatch_k3"] is None


def test_scores_count_every_image(tmp_path: Path) -> None:
    found = scores(rows(tmp_path, [True, False, False, False]))
    assert (found.n, found.exec_rate, found.similarity, found.read) == (4, 0.25, 0.125, {"kind": 0.25})


def test_paired_interval() -> None:
    assert difference_ci95([0, 0], [1, 1]) == (1, 1, 1)
