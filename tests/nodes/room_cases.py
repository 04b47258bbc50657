"""Room on a cluster's nodes, which only claim their GPUs: who is waited for, what is shared. `test_room` runs this in a
process of its own, for Ray keeps the first way of authentication that a process uses."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.util import placement_group, remove_placement_group

from actors.contracts import Outage
from configs.load import ConfigError, load
from configs.schema import Config
from tests.nodes.rig import Rig
from training.run.nodes import room
from training.run.nodes.checks import prove_shared
from training.run.nodes.room import LEARNER, Placing, free_lines, no_room, wait_for_room

ROOT = Path(__file__).parents[2]


def recipe(*overrides: str) -> Config:
    return load(ROOT / "configs" / "chart_7b.yaml", overrides)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Rig]:
    """The address of two nodes of 4 CPUs and 4 GPUs and of a head without any."""
    folder = Path(f"/tmp/rrvf-room-{os.getpid()}")
    rig = Rig(folder, f"room-{os.getpid()}")
    try:
        for number, name in enumerate("ab", 2):
            rig.add(name, number, 4, "--num-gpus=4")
        ray.init(address=rig.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.getcwd()}})
        yield rig
        ray.shutdown()
    finally:
        rig.close()
        shutil.rmtree(folder, ignore_errors=True)


SMALL = ("judge.gpus=2", "judge.cpus=0", "engine.replicas=2", "learner.workers=2", "render.replicas=1", "engine.cpus=1")


def test_a_judge_that_no_node_can_hold_is_named_before_anything_starts(cluster: Rig) -> None:
    line = no_room(recipe("judge.gpus=8", *SMALL[1:]))
    assert line is not None and "1 x judge (8 GPU)" in line and "of 4 CPU and 4 GPU" in line
    assert no_room(recipe(*SMALL)) is None


def test_waiting_for_room_names_who_waits_and_who_holds_and_goes_on_when_there_is_room(
    cluster: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote(num_cpus=0)
    class Hog:
        def up(self) -> bool:
            return True

    hogs = [Hog.options(num_gpus=4).remote() for _ in range(2)]  # type: ignore[attr-defined]
    ray.get([hog.up.remote() for hog in hogs])
    lines: list[str] = []
    monkeypatch.setattr(room, "WORD_S", 0.0)
    with pytest.raises(ConfigError, match="no room for"):
        wait_for_room(recipe(*SMALL, "cluster.room_s=0"), lines.append)
    with pytest.raises(Outage, match=r"cluster\.room_s"):
        wait_for_room(recipe(*SMALL, "cluster.room_s=1"), lines.append, LEARNER)
    assert (
        lines and "2 x learner worker (1 CPU and 1 GPU)" in lines[-1] and "free 4 CPU of 4 CPU and 4 GPU" in lines[-1]
    )
    threading.Timer(1.0, lambda: [ray.kill(hog) for hog in hogs]).start()
    turn = wait_for_room(recipe(*SMALL, "cluster.room_s=120"), lines.append)
    with pytest.raises(ConfigError, match="another run is starting"):
        wait_for_room(recipe(*SMALL, "cluster.room_s=0"), lines.append)
    turn.release()
    wait_for_room(recipe(*SMALL, "cluster.room_s=60"), lines.append).release()
    assert len(free_lines()) == 2


def test_a_part_whose_room_is_gone_since_it_was_found_is_waited_for_by_name(
    cluster: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "WORD_S", 0.5)
    lines: list[str] = []
    placing = Placing(recipe(*SMALL, "cluster.room_s=3"), LEARNER, lines.append)
    placing.look()
    asked = placement_group([{"CPU": 5.0}])
    with pytest.raises(Outage, match=r"after 3 s \(cluster\.room_s\): no room for 2 x learner worker"):
        for _ in range(60):
            placing.look()
            time.sleep(0.2)
    assert 2 <= len(lines) <= 6 and all("free 4 CPU and 4 GPU of" in line for line in lines)
    remove_placement_group(asked)
    time.sleep(1)
    placing.look()


def test_a_shared_folder_is_proved_by_reading_on_every_node(cluster: Rig, tmp_path: Path) -> None:
    prove_shared(cluster.shared)
    assert not list(cluster.shared.iterdir())
    with pytest.raises(ConfigError, match=r"on 2 of 2 other node\(s\).*/nowhere is not there"):
        prove_shared(cluster.shared, ["/nowhere", str(cluster.shared)])
    with pytest.raises(ConfigError, match=r"on 2 of 2 other node\(s\).*is not shared.*run\.dir=PATH"):
        prove_shared(tmp_path)  # the same path is another disk there
    assert not list(tmp_path.iterdir())


def test_a_node_that_dies_while_it_is_asked_is_no_problem_of_the_run(cluster: Rig) -> None:
    cluster.kill("b")
    prove_shared(cluster.shared)
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    assert not list(cluster.shared.iterdir())
    cluster.add("b", 3, 4, "--num-gpus=4")
