"""How far off the models of a step are (serving.viewer.queueing_model, serving.capacity), predicted from one trace.

The rollouts, queue, ledger and recorder are the real ones; engine, renderer, judge and learner sleep (latency_profile)
with as many servers as the layout has, so that the figures do not depend on what else this machine does. From the
trace of the first layout alone each other layout's seconds a step are predicted, by the formula and by the simulator.
"""

import asyncio
import json
import math
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors import local_ray
from actors.contracts import Domain, RenderResult, Verdict
from tests.bench.training.latency_profile import Profile, Sleepers

STEPS, GROUPS, MEMBERS = 12, 8, 8
BASE = {"actors": 1, "slots": 12, "renderers": 10, "judges": 32, "seats": 192, "max_staleness": 2}
LAYOUTS = {
    "the same again": {},
    "half the renderers": {"renderers": 5},
    "twice the renderers": {"renderers": 20},
    "a third of the groups under way": {"slots": 4},
    "twice the groups under way": {"slots": 24},
    "a quarter of the judges": {"judges": 8},
    "synchronous": {"max_staleness": 0},
    "64 rollout actors": {"actors": 64, "slots": 1},
    "a quarter of the engine's seats": {"seats": 24},
}


class House(Sleepers):
    """Sleepers with a number of renderers and judges, which say how long they worked."""

    def __init__(self, renderers: int, judges: int, *rest: Any) -> None:
        super().__init__(*rest)
        self._renderers, self._judges = asyncio.Semaphore(renderers), asyncio.Semaphore(judges)

    async def render(self, source: str, domain: Domain) -> RenderResult:
        async with self._renderers:
            seconds = await self._sleep(self.profile.render_s * (4 if random.random() < 0.1 else 1))
        return RenderResult(True, seconds, b"png", (1, 1))

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        async with self._judges:
            p = self.profile
            seconds = await self._sleep(random.lognormvariate(math.log(p.judge_s), p.judge_sigma))
        return Verdict(random.random(), "nearly", "profile", seconds=seconds)

    async def _sleep(self, seconds: float) -> float:
        started = time.perf_counter()
        await asyncio.sleep(self.profile.scale * seconds)
        return time.perf_counter() - started


class Player:
    """Rollout actors over such a house, with the real recorder."""

    def __init__(self, config: Any, model: str, queue: Any, profile: Profile, versions: str, run: str) -> None:
        from actors.dialogue import Codec
        from actors.rollout.actor import Rollouts
        from training.run.trajectory_log import Recorder

        codec = Codec.load(model, config.prompts)
        servers = config.render.concurrency, config.judge.concurrency
        env = House(*servers, profile, codec, config.engine.max_num_seqs, Path(versions))
        names = [f"player-{number}" for number in range(config.rollout.actors)]
        self.rollouts = [
            Rollouts(name, config, model, queue, env, env, env, Recorder(Path(run), name, 100)) for name in names
        ]

    async def start(self) -> None:
        await asyncio.gather(*[one.start() for one in self.rollouts])

    async def stop(self) -> None:
        await asyncio.gather(*[one.check() for one in self.rollouts])
        await asyncio.gather(*[one.stop() for one in self.rollouts])


def main(out_dir: Path) -> dict[str, Any]:
    import ray

    from serving.capacity.recorded import plan_of, relaid
    from serving.capacity.simulate import simulate
    from tests.training.tiny import build_model, picture
    from training.jobs.explain import against, read
    from training.run.ray_env import WORKER_ENV

    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        build_model(folder / "model")
        (folder / "image.png").write_bytes(picture(0))
        local_ray.start(4, runtime_env={"env_vars": WORKER_ENV})
        try:
            began = play(folder, "base", BASE)
            base, (plan, _) = read(began), plan_of(began)
            rows = {}
            for number, (name, change) in enumerate(LAYOUTS.items()):
                made = play(folder, str(number), BASE | change)
                rows[name] = against(base, read(made))
                other, measured = plan_of(made)
                simulated = simulate(relaid(plan, other), 30).step_s
                rows[name] |= {"simulated_s": simulated, "simulation_error": simulated / measured - 1}
                print(f"{name}: {rows[name]}", flush=True)
        finally:
            ray.shutdown()
    errors = sorted(abs(row["error"]) for row in rows.values())
    simulated = sorted(abs(row["simulation_error"]) for row in rows.values())
    found = {
        "base_s": round(base["step_s"], 3),
        "model_of_base_s": round(base["model"]["step"], 3),
        "predicted": {k: {f: round(v, 3) for f, v in row.items()} for k, row in rows.items()},
        "mean_error": round(sum(errors) / len(errors), 3),
        "largest_error": round(errors[-1], 3),
        "mean_error_of_the_simulator": round(sum(simulated) / len(simulated), 3),
        "largest_error_of_the_simulator": round(simulated[-1], 3),
    }
    print(json.dumps(found), flush=True)
    return found


def play(folder: Path, name: str, layout: dict[str, int]) -> Path:
    """One run of STEPS steps; its folder, as a real run leaves it."""
    import ray

    from actors.replay.queue import ReplayQueue
    from configs.load import dump
    from configs.schema import Config

    config, profile, run = Config(), Profile(), folder / name
    run.mkdir()
    config.rollout = replace(
        config.rollout,
        actors=layout["actors"],
        group_size=MEMBERS,
        concurrency=layout["slots"],
        max_turns=4,
        max_wait_s=86_400,
    )
    config.sampling = replace(config.sampling, max_tokens=256, max_trajectory_tokens=4096)
    config.queue = replace(
        config.queue, groups_per_step=GROUPS, max_staleness=layout["max_staleness"], drop_zero_variance=False
    )
    config.engine.max_model_len = config.sampling.max_trajectory_tokens
    config.engine.max_num_seqs = layout["seats"]
    config.render.concurrency = layout["renderers"]
    config.judge = replace(config.judge, backend="mllm", url="http://asleep", concurrency=layout["judges"])
    (run / "config.yaml").write_text(dump(config))
    versions = run / "version"
    versions.write_text("0")
    queue = ReplayQueue.options(num_cpus=0, max_concurrency=1000).remote(  # type: ignore[attr-defined]
        config, [str(folder / "image.png")] * 4096, None, str(run / "queue.jsonl")
    )
    where = str(folder / "model"), queue, profile, str(versions), str(run)
    player = ray.remote(Player).options(num_cpus=1).remote(config, *where)
    ray.get(player.start.remote(), timeout=120)
    for step in range(STEPS):
        began = time.perf_counter()
        ray.get(queue.take.remote(step), timeout=120)
        taken = time.perf_counter()
        time.sleep(profile.scale * profile.update_s * GROUPS * MEMBERS / 256)
        updated = time.perf_counter()
        time.sleep(profile.scale * profile.sync_s)
        fresh = run / "fresh"
        fresh.write_text(str(step + 1))
        fresh.replace(versions)
        ray.get(queue.set_version.remote(step + 1), timeout=60)
        ended = time.perf_counter()
        figures = {"step": step + 1, "wait_s": taken - began, "update_s": updated - taken, "sync_s": ended - updated}
        with (run / "metrics.jsonl").open("a") as out:
            out.write(json.dumps(figures | {"step_s": ended - began, "ended_ms": int(1000 * time.time())}) + "\n")
    ray.get(player.stop.remote(), timeout=60)
    ray.kill(player)
    ray.kill(queue)
    return run
