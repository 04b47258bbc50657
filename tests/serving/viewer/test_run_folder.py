"""Reading a run's folder while it is written: nothing twice, nothing lost, nothing believed."""

import contextlib
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from serving.capacity.recorded import plan_of
from serving.viewer.app import _glance
from serving.viewer.run_folder import Follower, Query, RunFolder
from serving.viewer.step_time import explain
from tests.training.run.made_run import make
from training.run.nodes.where import record


def opened(path: Path) -> RunFolder:
    run = RunFolder(path)
    run.refresh()
    return run


def test_every_group_is_found_with_its_state_step_and_advantages(tmp_path: Path) -> None:
    run = opened(make(tmp_path / "run", steps=5))
    rows = run.find(Query())
    assert [row.group for row in rows] == list(range(19, -1, -1))
    assert run.facets()["states"] == {"consumed": 16, "stale": 4}
    stale = next(row for row in rows if row.state == "stale")
    assert stale.reason == "oldest token 3 versions old"
    full = run.read(rows[1])
    assert full["step"] == 5 and full["ledger"]["worker"] == "rollout-0/1"
    advantages = [m["advantage"] for m in full["members"]]
    rewards = [m["reward"]["total"] for m in full["members"]]
    assert advantages == pytest.approx([r - sum(rewards) / 4 for r in rewards], abs=1e-4)
    assert all("advantage" not in m for m in run.read(stale)["members"])


@pytest.mark.parametrize(
    ("query", "fits"),
    [
        (Query(step_from=2, step_to=3), lambda g: 2 <= g["step"] <= 3),
        (Query(reward_from=0.9), lambda g: max(m["reward"]["total"] for m in g["members"]) >= 0.9),
        (Query(reward_to=-0.1), lambda g: min(m["reward"]["total"] for m in g["members"]) <= -0.1),
        (Query(failure="syntax"), lambda g: any(t["failure"] == "syntax" for m in g["members"] for t in m["turns"])),
        (Query(state="stale"), lambda g: g["state"] == "stale"),
    ],
)
def test_filters_find_what_they_say_and_all_of_it(tmp_path: Path, query: Query, fits: object) -> None:
    run = opened(make(tmp_path / "run", steps=6))
    found = {row.group for row in run.find(query)}
    right = {g["group"] for g in map(run.read, run.find(Query())) if fits(g)}  # type: ignore[operator]
    assert found == right and 0 < len(found) < 24


def test_orders(tmp_path: Path) -> None:
    run = opened(make(tmp_path / "run", steps=6))
    best = [row.high or 0 for row in run.find(Query(sort="best"))]
    spread = [(r.high or 0) - (r.low or 0) for r in run.find(Query(sort="spread"))]
    assert best == sorted(best, reverse=True) and spread == sorted(spread, reverse=True)
    assert [r.group for r in run.find(Query(sort="oldest"))] == list(range(24))


def test_a_run_is_followed_while_it_is_written(tmp_path: Path) -> None:
    path = make(tmp_path / "run", steps=2)
    run = opened(path)
    before = run.revision
    run.refresh()
    assert run.revision == before, "nothing new, no new revision"
    make(path, steps=1, first=2)
    lines = path / "trajectories" / "rollout-0.jsonl"
    with lines.open("ab") as out:
        out.write(b'{"group": 99, "cut short')
    run.refresh()
    assert run.revision > before and len(run.find(Query())) == 12 and len(run.metrics()) == 3


def test_a_group_that_a_resumed_run_plays_again_replaces_the_one_before(tmp_path: Path) -> None:
    path = make(tmp_path / "run", steps=3)
    run = opened(path)
    old = run.read(run.find(Query())[0])
    lines = [json.loads(line) for line in (path / "queue.jsonl").read_text().splitlines()]
    entries = [entry for line in lines[:2] for entry in line["entries"]]
    entries.append({**lines[2]["entries"][0], "state": "running", "step": -1})
    fresh = path / "fresh"
    fresh.write_text(json.dumps({"archive": 0, "issued": 9, "entries": entries}) + "\n")
    fresh.replace(path / "queue.jsonl")  # as a resumed queue begins its journal
    run.refresh()
    [played] = run.find(Query(state="running"))
    assert played.group == 8 and played.offset == -1, "its line is of the life before"
    assert [row.group for row in run.find(Query())] == list(range(7, -1, -1))
    make(path, steps=1, first=2, seed=7)
    run.refresh()
    again = run.read(run.find(Query())[0])
    assert again["group"] == old["group"] and again["members"] != old["members"]


def begin_journal(path: Path, archive: int, issued: int, entries: list[dict[str, Any]]) -> None:
    """As a queue does that settles groups, or that is resumed."""
    fresh = path / "fresh"
    fresh.write_text(json.dumps({"archive": archive, "issued": issued, "entries": entries}) + "\n")
    fresh.replace(path / "queue.jsonl")


def test_groups_that_left_the_journal_are_found_in_the_archive(tmp_path: Path) -> None:
    path = make(tmp_path / "run", steps=3)
    run = opened(path)
    shown = [(row.group, row.state) for row in run.find(Query())]
    journal = [json.loads(line) for line in (path / "queue.jsonl").read_text().splitlines()]
    lines = [[json.dumps(entry) + "\n" for entry in line["entries"]] for line in journal]
    (path / "ledger.jsonl").write_text("".join(lines[0]))
    early = (path / "ledger.jsonl").stat().st_size
    begin_journal(path, early, 12, [entry for line in journal[1:] for entry in line["entries"]])
    run.refresh()
    assert [(row.group, row.state) for row in run.find(Query())] == shown
    with (path / "ledger.jsonl").open("a") as archive:
        # as a checkpoint writes it, and then settled
        archive.write(json.dumps({**journal[1]["entries"][0], "state": "running", "step": -1}) + "\n")
        archive.write("".join(lines[1]))
    begin_journal(path, (path / "ledger.jsonl").stat().st_size, 12, journal[2]["entries"])
    for follower in (run, opened(path)):
        follower.refresh()
        assert [(row.group, row.state) for row in follower.find(Query())] == shown
    with (path / "ledger.jsonl").open("r+") as archive:  # resumed from the checkpoint before
        archive.truncate(early)
    begin_journal(path, early, 8, [])
    for follower in (run, opened(path)):
        follower.refresh()
        assert {row.group for row in follower.find(Query())} == {0, 1, 2, 3}


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    path = make(tmp_path / "run", steps=1)
    junk = [
        b"\xff\xfe\x00", b"[]", b"{}", b"null", b'{"group": "x", "members": 3}', b'{"group": 1, "members": [null]}',
        b'{"group": {}, "prompt": [], "began": "a", "state": 1, "members": []}', b"[" * 5000, b'{"step": NaN}',
    ]  # fmt: skip
    for name in ("trajectories/rollout-0.jsonl", "queue.jsonl", "advantages.jsonl", "metrics.jsonl"):
        with (path / name).open("ab") as out:
            out.write(b"\n".join(junk) + b"\n")
    run = opened(path)
    rows = run.find(Query())
    assert len(rows) == 4 and all(run.read(row)["members"] for row in rows)


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "run", steps=1)
    outside = tmp_path / "secret.png"
    outside.write_bytes(b"secret")
    name = "0123456789abcdef0123.png"
    (path / "pictures" / name).symlink_to(outside)
    run = opened(path)
    for asked in (
        name,
        "../config.yaml",
        "../secret.png",
        "../../etc/passwd",
        "..",
        "",
        "/etc/passwd",
        "a.png",
        name + "/..",
    ):
        assert run.picture(asked) is None
    real = next(p.name for p in (path / "pictures").iterdir() if not p.is_symlink())
    assert run.picture(real) == (path / "pictures" / real).resolve()
    other = make(tmp_path / "other", steps=2)
    shutil.rmtree(path / "trajectories")
    (path / "trajectories").symlink_to(other / "trajectories")
    assert all(row.offset == -1 for row in opened(path).find(Query()))


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\ntwo\nthr")
    follower = Follower(tmp_path, path)
    assert follower.lines() == (False, [(0, b"one\n"), (4, b"two\n")])
    with path.open("ab") as out:
        out.write(b"ee\n")
    assert follower.lines() == (False, [(8, b"three\n")])
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"new\n" * 10)
    os.replace(fresh, path)
    anew, lines = follower.lines()
    assert anew and len(lines) == 10


def test_what_runs_where_is_what_the_run_wrote_last(tmp_path: Path) -> None:
    run = opened(tmp_path)
    assert run.nodes() == []
    for host in ("10.0.0.1", "10.0.0.2"):
        record({host: Counter({"policy engine": 2, "queue": 1})}, tmp_path)
        run.refresh()
        assert run.nodes() == [{"node": host, "parts": {"policy engine": 2, "queue": 1}}]
    (tmp_path / "nodes.jsonl").unlink()
    (tmp_path / "nodes.jsonl").write_text('{"node": 3}\n[]\n{"node": "<b>", "parts": {"queue": "x", "judge": 1}}\n')
    run.refresh()
    assert run.nodes() == [{"node": "<b>", "parts": {"judge": 1}}]


def test_a_disk_that_takes_nothing_costs_that_record_alone(tmp_path: Path) -> None:
    record({"10.0.0.1": Counter({"queue": 1})}, tmp_path / "gone")


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def hole(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(2**43)


HOSTILE = {
    "pipe_for_figures": lambda run: pipe(run / "metrics.jsonl"),
    "pipe_for_the_ledger": lambda run: pipe(run / "queue.jsonl"),
    "pipe_for_groups": lambda run: pipe(run / "trajectories" / "z.jsonl"),
    "pipe_for_settings": lambda run: pipe(run / "config.yaml"),
    "folder_for_groups": lambda run: (run / "trajectories" / "z.jsonl").mkdir(),
    "link_to_a_device": lambda run: (run / "trajectories" / "z.jsonl").symlink_to("/dev/zero"),
    "link_to_itself": lambda run: (run / "nodes.jsonl").symlink_to("nodes.jsonl"),
    "hole_larger_than_the_disk": lambda run: hole(run / "metrics.jsonl"),
    "line_without_end": lambda run: (run / "trajectories" / "z.jsonl").write_text("{" * 10**6),
    "figures_of_another_type": lambda run: (run / "metrics.jsonl").open("a").write(
        '{"step": "x", "step_s": [], "wait_s": {}, "ended_ms": null, "update_s": "\\u001b[2J"}\n'
        '{"step": 9, "step_s": 1, "wait_s": 1, "ended_ms": 1, "update_s": "y", "sync_s": [1]}\n'
    ),
    "json_that_is_too_deep": lambda run: (run / "metrics.jsonl").open("a").write(
        "".join(f'{{"step": 1, "x": {"[" * n + "]" * n}}}\n' for n in range(900, 1100, 7))
    ),
    "settings_too_deep": lambda run: (run / "config.yaml").write_text("a: " + "[" * 5000),
    "settings_that_call": lambda run: (run / "config.yaml").write_text("a: !!python/object/apply:os.abort []"),
    "settings_that_multiply": lambda run: (run / "config.yaml").write_text(
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_costs_what_it_spoils_alone(tmp_path: Path, name: str) -> None:
    run = make(tmp_path / "run", steps=3)
    HOSTILE[name](run)
    folder = RunFolder(run)
    folder.refresh()
    found = explain(folder)
    assert folder.find(Query())
    assert found["steps"] == {"pipe_for_figures": 0, "figures_of_another_type": 4}.get(name, 3)
    (run / "pictures" / f"{'0' * 20}.png").symlink_to(f"{'0' * 20}.png")
    assert folder.picture(f"{'0' * 20}.png") is None
    assert _glance(run).keys() == {"step", "reward", "changed"}


NAMING = (
    "data: {domain: '@'}", "data.domain: '@'", "judge: {backend: '@:X'}", "reward: {function: '@:X'}",
    "run: {seed: '${data.domain}'}\ndata: {domain: '@'}",
)  # fmt: skip


@pytest.mark.parametrize("key", NAMING)
def test_no_code_that_a_runs_settings_name_is_loaded(tmp_path: Path, key: str) -> None:
    """A folder from somebody else: to look at it must not run what lies in it."""
    run = make(tmp_path / "run", steps=3)
    (run / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    (run / "config.yaml").write_text(key.replace("@", str(run / "own.py")))
    folder = RunFolder(run)
    folder.refresh()
    assert explain(folder)["steps"] == 3
    with contextlib.suppress(ValueError):
        plan_of(run)
    assert not (tmp_path / "ran").exists()
