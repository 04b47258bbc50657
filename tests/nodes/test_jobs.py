"""README's own job on several nodes: two at once on room for one, a killed driver, a folder that is not shared, nodes
that join."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.rig import Rig, wait_until

TINY = (
    "training.train", "configs/tiny_chart.yaml", "data.count=24", "rollout.group_size=4", "rollout.concurrency=4",
    "queue.groups_per_step=2", "queue.drop_zero_variance=false", "evaluate.before_after=false",
)  # fmt: skip


PLACED = (
    "engines=pool=a", "learner=pool=b|c", "renderers=pool=b", "judge=pool=b", "queue=pool!=a|b", "rollouts=pool=b"
)  # fmt: skip


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    folder = Path(f"/tmp/rrvf-nodes-{os.getpid()}")  # short: Ray's sockets lie below it
    made = Rig(folder, f"nodes-{os.getpid()}")
    try:
        made.add("a", 2, 3, "--labels=pool=a")
        made.add("b", 3, 3, "--labels=pool=b")
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def printed(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_two_jobs_on_room_for_one_run_one_after_the_other_and_say_where(rig: Rig) -> None:
    """A head without CPUs, two nodes with disks of their own, no setting but `run.dir`."""
    logs = [rig.shared / f"{name}.txt" for name in ("first", "second")]
    first = rig.job(*TINY, "run.steps=2", f"run.dir={rig.shared}/runs", log=logs[0])
    wait_until("the first to start", lambda: first.poll() is not None or "starting engine" in printed(logs[0]), 300)
    place = [f"cluster.place.{where}" for where in PLACED]
    second = rig.job(*TINY, "run.steps=1", f"run.dir={rig.shared}/runs", *place, log=logs[1])
    assert first.wait(timeout=600) == 0, printed(logs[0])[-4000:]
    ended = time.time()
    assert second.wait(timeout=600) == 0, printed(logs[1])[-4000:]
    assert "waiting: another run is starting" in printed(logs[1]) or "waiting: no room for" in printed(logs[1])
    assert "job 0" in printed(logs[1]).split("held by ")[1], "it says who holds the rest"
    for steps, name in ((2, "tiny_chart"), (1, "tiny_chart-2")):
        assert json.loads((rig.shared / "runs" / name / "summary.json").read_text())["steps"] == steps
    assert json.loads((rig.shared / "runs/tiny_chart-2/metrics.jsonl").read_text())["ended_ms"] > 1000 * ended
    where = [line for line in printed(logs[0]).splitlines() if "] node 127.0.0." in line]
    assert len(where) == 2 and sum("learner worker" in line for line in where) == 1, printed(logs[0])
    where = [line.partition("] node ")[2] for line in printed(logs[1]).splitlines() if "] node " in line]
    assert where[:2] == [
        "127.0.0.2: 1 x policy engine",
        "127.0.0.3: 1 x judge, 1 x learner worker, 1 x renderer, 1 x rollouts",
    ] and where[2].endswith(": 1 x queue"), "each part is where cluster.place says"


def test_a_folder_that_is_not_shared_is_refused_in_a_line_that_says_why(rig: Rig) -> None:
    log = rig.shared / "unshared.txt"
    job = rig.job(*TINY, log=log)  # the default, in the job's own folder
    assert job.wait(timeout=300) != 0
    # a set, for Ray shows the end of a log again
    lines = {line for line in printed(log).splitlines() if line.startswith("error:")}
    assert len(lines) == 1, printed(log)[-4000:]
    line = lines.pop()
    assert "on 2 of 2 other node(s)" in line and "is not shared" in line and "run.dir=PATH" in line


def test_a_killed_driver_leaves_nothing_behind_on_any_node(rig: Rig) -> None:
    log = rig.shared / "killed.txt"
    job = rig.job(*TINY, "run.steps=50", f"run.dir={rig.shared}/killed", log=log)
    steps = rig.shared / "killed" / "tiny_chart" / "metrics.jsonl"
    wait_until("a step", lambda: job.poll() is not None or steps.exists(), 300)
    assert job.poll() is None, printed(log)[-4000:]
    [driver] = [pid for pid in rig.processes("head") if command(pid).startswith("python -m training.train")]
    os.kill(driver, signal.SIGKILL)
    job.wait(timeout=120)
    kinds = ("VisualJudge", "RenderWorker", "jailed.server", "PolicyEngine", "Rollouts", "QueueState", "RayTrainWorker")

    def left() -> list[str]:
        return [line for pid in rig.processes() if any(kind in (line := command(pid)) for kind in kinds)]

    wait_until("the end of its processes", lambda: not left(), 60)


def test_an_engine_joins_when_a_node_does_and_answers_with_the_runs_weights(rig: Rig) -> None:
    log, folder = rig.shared / "grows.txt", rig.shared / "grows"
    place = ("cluster.place.engines=pool=c|d", "engine.max_replicas=2")
    rig.add("c", 4, 1, "--labels=pool=c")
    job = rig.job(*TINY, "run.steps=200", f"run.dir={folder}", *place, log=log)
    steps = folder / "tiny_chart" / "metrics.jsonl"
    wait_until("a step", lambda: job.poll() is not None or steps.exists(), 600)
    rig.add("d", 5, 1, "--labels=pool=d")
    wait_until("the engine", lambda: job.poll() is not None or "policy engine 1 has joined" in printed(log), 600)
    assert job.poll() is None, printed(log)[-4000:]
    assert "there is room: policy engine 1 starts" in printed(log)
    joined = int(re.findall(r"policy engine 1 has joined with weights (\d+)", printed(log))[0])
    before = len(steps.read_text().splitlines())
    assert joined <= before + 1, "it has the weights of the run, not those that the run began with"
    wait_until("more steps", lambda: job.poll() is not None or len(steps.read_text().splitlines()) > before + 2, 300)
    assert job.poll() is None, printed(log)[-4000:]
    nodes = [json.loads(line) for line in (folder / "tiny_chart" / "nodes.jsonl").read_text().splitlines()]
    assert [row["node"] for row in nodes if "policy engine" in row["parts"]] == ["127.0.0.4", "127.0.0.5"]
    [driver] = [pid for pid in rig.processes("head") if command(pid).startswith("python -m training.train")]
    os.kill(driver, signal.SIGTERM)
    assert job.wait(timeout=300) == 0 and "stopped cleanly; go on with" in printed(log), printed(log)[-4000:]


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
