"""Synchronous against asynchronous: the same rollouts, queue and prompts at max_staleness 0, 1, 2 and 4.

Two cores cannot run a 7B policy and a 72B judge, so their latencies are slept (`latency_profile` beside this file) at a
17th of full scale; admission, groups, ledger, sweep and batches are the software's own, in processes of their own.
Learner idle: share of the time in which it waits for a batch. Engine idle: share of its slots that hold no request.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from actors import local_ray

BOUNDS = (0, 1, 2, 4)
STEPS, WARM = 16, 4  # the first steps fill the pipeline
GROUPS, MEMBERS = 32, 8  # the batch of the paper's recipe
SLOTS = 256  # 8 engines of 32 sequences: 16k tokens each of a 7B policy are 0.9 GB of keys and values


def main(out_dir: Path) -> dict[str, Any]:
    rows = {}
    for bound in BOUNDS:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.training.asynchrony", str(bound)],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        rows[bound] = json.loads(done.stdout.splitlines()[-1])
        print(f"max_staleness {bound}: {rows[bound]}", flush=True)
    ratios = {str(b): round(rows[0]["step_s"] / rows[b]["step_s"], 2) for b in BOUNDS}
    print(f"times as fast as synchronous: {ratios}")
    return {"by_bound": {str(b): r for b, r in rows.items()}, "faster_than_synchronous": ratios}


def measure(bound: int) -> dict[str, Any]:
    """STEPS steps at one bound; seconds are at full scale."""
    import ray

    from configs.schema import Config
    from tests.bench.training.latency_profile import Profile
    from tests.training.tiny import build_model, picture
    from training.run.ray_env import WORKER_ENV

    folder = Path(tempfile.mkdtemp())
    model = build_model(folder / "model")
    image = folder / "image.png"
    image.write_bytes(picture(0))
    versions = folder / "version"
    versions.write_text("0")
    config, profile = Config(), Profile()
    config.rollout = replace(
        config.rollout, group_size=MEMBERS, concurrency=(bound + 1) * GROUPS, max_turns=4, max_wait_s=1e9
    )
    config.sampling = replace(config.sampling, max_tokens=256, max_trajectory_tokens=4096)
    config.queue = replace(config.queue, groups_per_step=GROUPS, max_staleness=bound, drop_zero_variance=False)
    local_ray.start(4, runtime_env={"env_vars": WORKER_ENV})
    from actors.replay.queue import ReplayQueue

    queue = ReplayQueue.options(num_cpus=0, max_concurrency=1000).remote(config, [str(image)] * 4096)  # type: ignore[attr-defined]
    player = ray.remote(Player).options(num_cpus=1).remote(config, str(model), queue, profile, str(versions))
    ray.get(player.start.remote(), timeout=120)
    waits, ages, starts = [], [], []
    busy: list[float] = []
    for step in range(STEPS):
        starts.append(time.perf_counter())
        busy.append(ray.get(player.busy.remote(), timeout=60))
        batch = ray.get(queue.take.remote(step), timeout=60)
        waits.append(time.perf_counter() - starts[-1])
        ages.append((batch.stats["staleness_mean"], batch.stats["staleness_max"]))
        time.sleep(profile.scale * profile.update_s * GROUPS * MEMBERS / 256)
        time.sleep(profile.scale * profile.sync_s)
        fresh = folder / "fresh"
        fresh.write_text(str(step + 1))
        fresh.replace(versions)
        ray.get(queue.set_version.remote(step + 1), timeout=60)
    ended = time.perf_counter()
    busy.append(ray.get(player.busy.remote(), timeout=60))
    account = ray.get(queue.account.remote(), timeout=60)
    ray.shutdown()
    span = ended - starts[WARM]
    oldest = [largest for _, largest in ages]
    assert max(oldest) <= bound, f"a batch was {max(oldest)} versions old, the bound is {bound}"
    return {
        "step_s": round(span / (STEPS - WARM) / profile.scale, 1),
        "learner_idle": round(sum(waits[WARM:]) / span, 3),
        "engine_idle": round(1 - (busy[-1] - busy[WARM]) / span, 3),
        "staleness_mean": round(sum(mean for mean, _ in ages[WARM:]) / (STEPS - WARM), 2),
        "staleness_max_of_steps": {str(int(k)): v for k, v in sorted(Counter(oldest).items())},
        "stale_groups": account["stale"],
        "consumed_groups": account["consumed"],
        "profile": {k: v for k, v in asdict(profile).items() if k != "scale"} if bound == 0 else "as above",
    }


class Player:
    """The rollout actor with an environment that sleeps."""

    def __init__(self, config: Any, model: str, queue: Any, profile: Any, versions: str) -> None:
        from actors.dialogue import Codec
        from actors.rollout.actor import Rollouts
        from tests.bench.training.latency_profile import Sleepers

        self.env = Sleepers(profile, Codec.load(model, config.prompts), SLOTS, Path(versions))
        self.rollouts = Rollouts("player", config, model, queue, self.env, self.env, self.env)

    async def start(self) -> None:
        await self.rollouts.start()

    async def busy(self) -> float:
        await self.rollouts.check()  # raises what ended a slot
        return self.env.engine.read()


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
