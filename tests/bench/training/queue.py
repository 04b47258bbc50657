"""100,000 trajectories with their pictures through the real queue: what a group costs, and whether memory stays flat.

Two actors hand groups in as fast as they are admitted, the bench takes batches and fetches them; nothing is played.
"""

import dataclasses
import os
import time
from pathlib import Path
from typing import Any

from actors import local_ray

TRAJECTORIES, MEMBERS, PER_BATCH = 100_000, 8, 25
SETTLED = 0.2  # share of the run after which memory must not grow any more


def main(out_dir: Path) -> dict[str, Any]:
    import psutil
    import ray

    from actors.replay.queue import ReplayQueue, fetch
    from configs.schema import Config
    from training.run.ray_env import WORKER_ENV

    config = Config()
    config.rollout.group_size = MEMBERS
    config.queue = dataclasses.replace(config.queue, groups_per_step=PER_BATCH, max_staleness=2)
    out_dir.mkdir(parents=True, exist_ok=True)
    journal = out_dir / "queue.journal"
    local_ray.start(4, runtime_env={"env_vars": WORKER_ENV})
    queue = ReplayQueue.options(num_cpus=0, max_concurrency=1000).remote(config, ["x.png"] * 5000, None, str(journal))  # type: ignore[attr-defined]
    process = psutil.Process(ray.get(queue.pid.remote(), timeout=60))
    feeds = [ray.remote(Feed).options(num_cpus=1).remote(queue, n) for n in range(2)]
    ray.get([f.start.remote() for f in feeds], timeout=60)
    steps = TRAJECTORIES // MEMBERS // PER_BATCH
    memory, waits = [], 0.0
    started = time.perf_counter()
    for step in range(steps):
        asked = time.perf_counter()
        groups = fetch(ray.get(queue.take.remote(step), timeout=120))
        waits += time.perf_counter() - asked
        assert len(groups) == PER_BATCH and all(len(g.trajectories) == MEMBERS for g in groups)
        ray.get(queue.set_version.remote(step + 1), timeout=60)
        if step % 25 == 0:
            memory.append((process.memory_info().rss, ray_store_bytes()))
    seconds = time.perf_counter() - started
    account = ray.get(queue.account.remote(), timeout=60)
    ray.shutdown()
    assert account["consumed"] == steps * PER_BATCH
    early = memory[int(len(memory) * SETTLED) :]
    result = {
        "trajectories": steps * PER_BATCH * MEMBERS,
        "ms_per_group": round(1000 * seconds / (steps * PER_BATCH), 3),
        "queue_rss_mb": [round(rss / 2**20, 1) for rss, _ in memory[:: max(1, len(memory) // 8)]],
        "queue_rss_growth": round(memory[-1][0] / early[0][0] - 1, 4),
        "object_store_mb": [round(held / 2**20, 1) for _, held in memory[:: max(1, len(memory) // 8)]],
        "journal_bytes_per_group": round(journal.stat().st_size / account["dispatched"]),
    }
    journal.unlink()
    print(result)
    return result


def ray_store_bytes() -> int:
    """Bytes in this node's object store."""
    import ray

    return int(ray.cluster_resources()["object_store_memory"] - ray.available_resources()["object_store_memory"])


class Feed:
    """Hands in groups like those of the embedded policy, without running them."""

    def __init__(self, queue: Any, number: int) -> None:
        from actors.contracts import RenderResult, Verdict
        from actors.trajectory import Group, Reward, Trajectory, Turn

        self._queue, self._number = queue, number
        target, render = os.urandom(5000), os.urandom(4000)
        turn = Turn(
            "t" * 200, "answer", "c" * 150, RenderResult(True, 0.1, render), Verdict(0.5, "w", "p"), 60, (0,) * 3
        )
        self._group = Group(0, 0, tuple(
            Trajectory((1,) * 160, (True,) * 160, (-0.5,) * 160, (0,) * 160, (target,), (turn, turn), "answer",
                       Reward(0.1 * m, 0.1, 1.0, 0.0))
            for m in range(MEMBERS)
        ))  # fmt: skip

    def start(self) -> None:
        import threading

        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        import ray

        slot = 0
        while True:
            slot += 1
            ticket = ray.get(self._queue.admit.remote(f"{self._number}/{slot}"))
            if ticket is None:
                continue
            now = ray.get(self._queue.weights.remote())[0]
            played = tuple(dataclasses.replace(t, versions=(now,) * 160) for t in self._group.trajectories)
            group = dataclasses.replace(self._group, group=ticket.group, prompt=ticket.prompt, trajectories=played)
            ray.get(self._queue.put.remote(ticket, ["done"] * MEMBERS, group))
