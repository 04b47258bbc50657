"""What the run writes down of every group: complete, within its share of the disk, and never in the run's way."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from actors.contracts import RenderResult, Verdict
from actors.trajectory import Group, Reward, Trajectory, Turn
from training.data.labels import CHARTS
from training.run import trajectory_log
from training.run.trajectory_log import Recorder, write_advantages


def turn(png: bytes | None, sampled: int, kind: str = "tool_call") -> Turn:
    if png is None:
        render, verdict = RenderResult(False, 0.2, kind="exception", message="line 1: <b>no</b>"), None
    else:
        render = RenderResult(True, 0.2, png, (1, 1))
        verdict = Verdict(0.5, "redder", "test", sub_scores={"ink": 0.25}, seconds=0.05)
    return Turn("text", kind, "code", render, verdict, sampled, (1.0, 0.5, 0.1), 100.0)  # type: ignore[arg-type]


def played(turns: tuple[Turn, ...], versions: list[int]) -> Trajectory:
    """Two prompt tokens, then each turn's sampled tokens with one token of feedback after them."""
    ids, mask, seen, rest = [1, 1], [False, False], [-1, -1], list(versions)
    for t in turns:
        ids += [2] * (t.sampled + 1)
        mask += [True] * t.sampled + [False]
        seen += [*rest[: t.sampled], -1]
        del rest[: t.sampled]
    return Trajectory(
        tuple(ids), tuple(mask), (0.0,) * len(ids), tuple(seen), (b"target",), turns, "answer", Reward(1, 1, 1, 0)
    )


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "trajectories" / "a.jsonl").open()]


def test_a_line_says_all_that_happened_and_pictures_are_kept_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "a", 10)
    both = (turn(None, 2), turn(b"picture", 3, "answer"))
    group = Group(7, 3, (played(both, [4, 4, 4, 5, 5]), played(both[1:], [5, 5, 5])))
    recorder(group, b"target", ["done", "engine", "done"], "ready", 99.5)
    [line] = lines(tmp_path)
    assert (line["group"], line["prompt"], line["state"], line["began"]) == (7, 3, "ready", 99.5)
    assert [m["outcome"] for m in line["members"]] == ["done", "engine", "done"]
    first, second = line["members"][0]["turns"]
    assert first["failure"] == "exception" and first["message"] == "line 1: <b>no</b>" and first["picture"] is None
    assert first["versions"] == [[4, 2]] and second["versions"] == [[4, 1], [5, 2]]
    assert second["worked"] == [0.2, 0.05] and second["seconds"] == [1.0, 0.5, 0.1] and second["began"] == 100.0
    assert second["feedback"] == "redder" and second["sub_scores"] == {"ink": 0.25}
    assert (tmp_path / "pictures" / second["picture"]).read_bytes() == b"picture"
    assert (tmp_path / "pictures" / line["target"]).read_bytes() == b"target"
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_the_disk_it_takes_is_bounded_and_rewards_are_kept_of_all(tmp_path: Path) -> None:
    for life in range(2):  # a resumed run counts what is there
        recorder = Recorder(tmp_path, "a", 0.25)
        for number in range(life * 200, life * 200 + 200):
            group = Group(number, 0, (played((turn(f"{number}".encode() * 1000, 3),), [0, 0, 0]),))
            recorder(group, b"target", ["done"], "ready", 1.0)
    rows = lines(tmp_path)
    whole = [row["group"] for row in rows if row["whole"]]
    assert len(rows) == 400 and all(row["members"][0]["reward"]["total"] == 1 for row in rows)
    pictures = sum(p.stat().st_size for p in (tmp_path / "pictures").iterdir())
    assert 0.6 < pictures / 2**18 <= 1.0
    gaps = [b - a for a, b in pairwise(whole)]
    assert gaps[0] == 1 and max(gaps) >= 4, "the early groups are all kept, later ones ever more thinly"
    assert all((row["target"] is not None) == row["whole"] for row in rows)
    assert all("text" in m["turns"][0] for row in rows if row["whole"] for m in row["members"])


def test_a_folder_that_cannot_be_written_ends_the_record_and_not_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "trajectories").write_text("in the way")
    recorder = Recorder(tmp_path, "a", 1)
    for _ in range(3):
        recorder(Group(0, 0, ()), b"target", ["engine"], "failed", 1.0)
    assert len(caplog.records) == 1 and "no more trajectories are recorded" in caplog.text


def test_advantages_are_one_line_a_step(tmp_path: Path) -> None:
    write_advantages(tmp_path, 1, {4: [0.123456789, -1.0]})
    write_advantages(tmp_path, 2, {5: [0.0]})
    rows = [json.loads(line) for line in (tmp_path / "advantages.jsonl").open()]
    assert rows == [{"step": 1, "groups": {"4": [0.12346, -1.0]}}, {"step": 2, "groups": {"5": [0.0]}}]


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("plt.barh([1,2],[3,5],color='red')\nplt.title('Sales')", "barh 'Sales' 'red' 3,5"),
        ("plt.bar([1],[" + "9," * 500 + "])", "bar '' '' " + "9," * 55),
        ("draw(", None),
        ("print(1)", None),
        (None, None),
    ],
)
def test_what_a_program_reads_off_its_picture_is_kept_in_a_few_words(code: str | None, read: str | None) -> None:
    assert trajectory_log._read(code, CHARTS) == read
