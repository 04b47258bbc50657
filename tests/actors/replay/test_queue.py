"""The queue in a real cluster: admission, batches, deadlines, snapshots."""

import asyncio
import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors import local_ray
from actors.contracts import Outage, RenderResult, Verdict
from actors.replay import archive
from actors.replay.ledger import Ledger, LedgerError, Ticket
from actors.replay.queue import QueueState, ReplayQueue, fetch
from actors.trajectory import Group, Reward, Trajectory, Turn
from configs.load import load
from configs.schema import Config
from training.run import ledger_summary as summary


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    local_ray.start(2)
    yield
    ray.shutdown()


@pytest.fixture
def config() -> Config:
    return load(
        None,
        ["rollout.group_size=2", "queue.groups_per_step=2", "queue.max_staleness=1", "queue.take_s=0.5"],
    )


def group(ticket: Ticket, version: int, rewards: tuple[float, ...] = (0.0, 1.0)) -> Group:
    def one(reward: float) -> Trajectory:
        render = RenderResult(True, 0.1, b"png", (1, 1))
        turn = Turn("t", "answer", "c", render, Verdict(reward, "", "t"), 2, (0.1, 0.1, 0.1))
        parts = Reward(reward, reward, 1.0, 0.0)
        return Trajectory(
            (1, 2, 3),
            (False, True, True),
            (0.0, -1.0, -1.0),
            (-1, version, version),
            (b"image",),
            (turn,),
            "answer",
            parts,
        )

    return Group(ticket.group, ticket.prompt, tuple(one(r) for r in rewards))


async def test_groups_pass_in_batches_and_versions_open_admission(config: Config) -> None:
    queue = QueueState(config, ["a.png", "b.png", "c.png"])
    tickets = [await queue.admit(f"w/{i}") for i in range(4)]
    assert all(t is not None and t.image.endswith(".png") for t in tickets)
    waiting = asyncio.create_task(queue.admit("w"))
    await asyncio.sleep(0.1)
    assert not waiting.done(), "admitted beyond the staleness bound"
    for ticket in tickets:
        assert ticket is not None
        assert await queue.put(ticket, ["done", "done"], group(ticket, 0)) == "ready"
    batch = await queue.take(0)
    assert [g.group for g in fetch(batch)] == [0, 1]
    assert batch.stats["staleness_max"] == 0 and batch.stats["ledger_consumed"] == 2
    await queue.set_version(1)
    assert (await waiting) is not None


async def test_an_empty_queue_says_what_it_waited_for(config: Config) -> None:
    queue = QueueState(config, ["a.png"])
    with pytest.raises(Outage, match=r"no full batch within 0\.5 s \(queue\.take_s\).*'dispatched': 0"):
        await queue.take(0)


def kept(folder: Path, snapshot: bytes) -> Path:
    """As a checkpoint keeps it."""
    path = folder / "checkpoints" / "step_000001" / "queue.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(snapshot)
    return path


async def test_a_snapshot_keeps_ready_groups_and_issues_running_ones_again(config: Config, tmp_path: Path) -> None:
    queue = QueueState(config, ["a.png", "b.png", "c.png"])
    first, second = await queue.admit("w/0"), await queue.admit("w/1")
    assert first is not None and second is not None
    await queue.put(first, ["done", "done"], group(first, 0))
    snapshot = kept(tmp_path, await queue.snapshot())
    restored = QueueState(config, ["a.png", "b.png", "c.png"], snapshot)
    again = await restored.admit("w")
    assert again is not None and again.prompt == second.prompt and again.group > second.group
    await restored.put(again, ["done", "done"], group(again, 0))
    assert [g.group for g in fetch(await restored.take(0))] == [first.group, again.group]
    with pytest.raises(ValueError, match="the run began with 3 images"):
        QueueState(config, ["a.png"], snapshot)


async def test_a_snapshot_is_of_one_moment_while_groups_come_in(config: Config, tmp_path: Path) -> None:
    queue = QueueState(config, ["a.png", "b.png", "c.png"])
    first, second = await queue.admit("w/0"), await queue.admit("w/1")
    assert first is not None and second is not None
    await queue.put(first, ["done", "done"], group(first, 0))
    taking = asyncio.create_task(queue.snapshot())
    await asyncio.sleep(0)  # it now waits for the first group's bytes
    await queue.put(second, ["done", "done"], group(second, 0))
    restored = QueueState(config, ["a.png", "b.png", "c.png"], kept(tmp_path, await taking))
    account = await restored.account()
    assert account["ready"] == 1 and account["lost"] == 1


async def test_dropped_groups_are_released(config: Config) -> None:
    queue = QueueState(config, ["a.png", "b.png", "c.png"])
    tickets = [await queue.admit(f"w/{i}") for i in range(4)]
    for ticket in tickets[:3]:
        assert ticket is not None
        await queue.put(ticket, ["done", "done"], group(ticket, 0))
    await queue.take(0)
    await queue.set_version(3)  # the third group is now too old
    with pytest.raises(Outage):
        await queue.take(3)
    account = await queue.account()
    assert account["stale"] == 1 and account["ready"] == 0
    assert (await queue.lose("w", "gone")) == 1


async def test_no_admission_after_a_stop(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.replay.queue.ADMIT_S", 0.1)
    queue = QueueState(config, ["a.png"])
    ticket = await queue.admit("w")
    assert ticket is not None
    await queue.stop()
    assert await queue.admit("w") is None
    assert await queue.put(ticket, ["done", "done"], group(ticket, 0)) is None


def test_a_killed_queue_goes_on_from_its_journal(config: Config, tmp_path: Path) -> None:
    """What was under way is handed in, what it held is played again, and the call of the learner is answered."""
    config.queue.take_s = 60
    queue = ReplayQueue.options(num_cpus=0, max_concurrency=10, max_restarts=-1, max_task_retries=-1).remote(  # type: ignore[attr-defined]
        config, ["a.png", "b.png", "c.png"], None, str(tmp_path / "queue.jsonl")
    )
    held, under_way = (ray.get(queue.admit.remote(f"w/{i}"), timeout=60) for i in range(2))
    assert ray.get(queue.put.remote(held, ["done"] * 2, group(held, 0)), timeout=60) == "ready"
    batch = queue.take.remote(0)
    with (tmp_path / "queue.jsonl").open("a") as journal:
        os.kill(ray.get(queue.pid.remote(), timeout=60), signal.SIGKILL)
        journal.write('{"version": 0, "torn')  # death may come in the middle of a line
    assert ray.get(queue.put.remote(under_way, ["done"] * 2, group(under_way, 0)), timeout=60) == "ready"
    again = ray.get(queue.admit.remote("w/0"), timeout=60)
    assert again.prompt == held.prompt and again.group != held.group
    assert ray.get(queue.put.remote(held, ["done"] * 2, group(held, 0)), timeout=60) == "lost"
    ray.get(queue.put.remote(again, ["done"] * 2, group(again, 0)), timeout=60)
    assert [g.group for g in fetch(ray.get(batch, timeout=60))] == [under_way.group, again.group]
    account = ray.get(queue.account.remote(), timeout=60)
    assert (account["dispatched"], account["consumed"], account["lost"]) == (3, 2, 1)
    ray.kill(queue)


async def steps(queue: QueueState, first: int, last: int) -> None:
    """Two groups a step, each trained."""
    for version in range(first, last):
        await queue.set_version(version)
        for slot in range(2):
            ticket = await queue.admit(f"w/{slot}")
            assert ticket is not None
            assert await queue.put(ticket, ["done", "done"], group(ticket, version)) == "ready"
        assert len(fetch(await queue.take(version))) == 2


async def test_settled_groups_leave_memory_and_a_resumed_queue_cuts_off_what_came_later(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.replay.queue.SETTLED", 4)
    images, journal = ["a.png", "b.png", "c.png"], str(tmp_path / "queue.jsonl")
    queue = QueueState(config, images, None, journal)
    await steps(queue, 0, 20)
    assert len(queue._ledger.entries) <= 8 and len((tmp_path / "queue.jsonl").read_text().splitlines()) < 40
    snapshot = kept(tmp_path, await queue.snapshot())
    assert [(e.group, e.state, e.step) for e in summary.read(tmp_path)] == [(n, "consumed", n // 2) for n in range(40)]
    await steps(queue, 20, 30)
    await queue.write_ledger()
    assert len(summary.read(tmp_path)) == 60
    again = Ticket(59, 0)  # the last of its slot, whose answer may have been lost on the way
    assert await queue.put(again, ["done", "done"], group(again, 29)) == "consumed"

    resumed = QueueState(config, images, snapshot, journal)
    assert (await resumed.account())["dispatched"] == len(summary.read(tmp_path)) == 40
    await steps(resumed, 20, 22)
    await resumed.write_ledger()
    found = summary.read(tmp_path)
    assert [(e.group, e.step) for e in found] == [(n, n // 2) for n in range(44)] and not summary.errors(found)

    (tmp_path / "ledger.jsonl").write_bytes((tmp_path / "ledger.jsonl").read_bytes()[:1000])
    with pytest.raises(archive.Torn, match=r"has 1,000 bytes, the checkpoint relies on .* a part of the ledger"):
        QueueState(config, images, snapshot, journal)


async def test_a_ledger_that_cannot_be_written_away_stays_whole(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.replay.queue.SETTLED", 4)
    queue = QueueState(config, ["a.png", "b.png", "c.png"], None, str(tmp_path / "queue.jsonl"))
    await steps(queue, 0, 4)
    for part in ("actors.replay.archive.append", "actors.replay.queue.write_whole"):
        with monkeypatch.context() as full:

            def refuse(*_: object) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr(part, refuse)
            await queue.snapshot()
            await steps(queue, queue._ledger.version + 1, queue._ledger.version + 5)
        written = (tmp_path / "queue.jsonl").read_text().splitlines()
        assert Ledger.replay(config.queue, written).account() == await queue.account(), "a queue that died now"
    await queue.write_ledger()
    assert [e.group for e in summary.read(tmp_path)] == list(range((await queue.account())["dispatched"]))


async def test_the_result_of_an_actor_that_was_given_up_long_ago_is_not_taken(config: Config, tmp_path: Path) -> None:
    queue = QueueState(config, ["a.png", "b.png", "c.png"], None, str(tmp_path / "queue.jsonl"))
    late = await queue.admit("hangs/0")
    assert late is not None and await queue.lose("hangs", "hung") == 1
    await queue.write_ledger()
    assert late.group not in queue._ledger.entries
    assert await queue.put(late, ["done", "done"], group(late, 0)) == "lost"
    assert (await queue.account())["lost"] == (await queue.account())["dispatched"] == 1
    never = Ticket(late.group + 1, 0)
    with pytest.raises(LedgerError, match="group 1 is unknown"):
        await queue.put(never, ["done", "done"], group(never, 0))
