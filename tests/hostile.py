"""Many trajectories of which half send hostile programs and pages: the real actors, queue, judge and learner, tiny.

    python -m tests.hostile [--trajectories 3000] [--seed 0]        (make hostile)

A scripted policy stands in for the engine, so that what is sent is known; renderers, judge, rollouts, the ledger behind
the queue and the learner are those of a run. At the end the ledger must balance, the learner must have moved, no member
may be void, no process, file or piece of shared memory may be left, and memory must not have grown.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from actors import local_ray
from actors.contracts import Domain, Sample
from actors.dialogue import Codec
from actors.families.tokens import banned_ids
from actors.images import normalise
from configs.schema import Config
from tests.serving.jailed.canaries import family
from tests.serving.jailed.hostile_charts import ATTACKS as PROGRAMS
from tests.serving.jailed.hostile_charts import source as program
from tests.serving.render.hostile_pages import ATTACKS as PAGES
from tests.serving.render.hostile_pages import source as page

GROUP, PER_STEP = 4, 3
COLOURS = ("red", "green", "blue", "orange", "black")
SETTLED = 40  # steps from which on memory is expected to be flat
LONGEST = 400  # characters of a hostile text: longer ones do not fit into a turn


class Hostile:
    """A policy that writes an attack in half of its turns, else an honest chart or page of a random colour."""

    def __init__(self, codec: Codec, domain: Domain, seed: int) -> None:
        self._codec, self._domain, self._seed = codec, domain, seed
        self._banned = frozenset(banned_ids(codec.tokenizer))
        self.version = 0
        self.sent: Counter[str] = Counter()
        places = {"FILE": "/etc/passwd", "TARGET": "/etc/passwd", "TCP": 9, "UDP": 9, "SERVER": 1, "WORKER": 1}
        known = PROGRAMS if domain == "chart" else PAGES
        fill = program if domain == "chart" else page
        texts = [fill(attack, **places) for _, ends, attack in known if "timeout" not in ends]
        short = [text for text in texts if len(text) <= LONGEST]
        self._attacks = [t for t in short if t == t.encode(errors="replace").decode()]  # a tokenizer's texts

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        rng = random.Random(f"{self._seed}/{session}/{len(prompt_ids)}")
        hostile = rng.random() < 0.5
        self.sent["hostile" if hostile else "honest"] += 1
        code = rng.choice(self._attacks) if hostile else self._honest(rng)
        # no two texts are equal, so that each is drawn and none is remembered
        code += f"\n# {rng.getrandbits(32)}" if self._domain == "chart" else f"<!--{rng.getrandbits(32)}-->"
        tag = rng.choice(("tool_call", "answer", "answer"))
        ids = tuple(self._codec.encode(f"<think>x</think><{tag}>{code}</{tag}>"))[:max_tokens]
        ids = tuple(i for i in ids if i not in self._banned)
        expanded = len(prompt_ids) - len(images) + sum(self._codec.image_tokens(i) for i in images)
        finish = "length" if len(ids) == max_tokens else "stop"
        return Sample(ids, (-1.0,) * len(ids), (self.version,) * len(ids), expanded, finish)  # type: ignore[arg-type]

    def _honest(self, rng: random.Random) -> str:
        colour, height = rng.choice(COLOURS), rng.randint(1, 9)
        if self._domain == "web":
            return f"<body style='margin:0'><div style='background:{colour};height:{height * 40}px'>x"
        bars = f"plt.bar([1,2],[{height},5],color='{colour}')"
        return f"import matplotlib.pyplot as plt\nplt.figure(figsize=(2,2))\n{bars}"


def settings(seed: int) -> Config:
    config = Config()
    config.run.seed = seed
    config.rollout = replace(config.rollout, group_size=GROUP, concurrency=3, max_turns=2, trajectory_s=120.0)
    config.queue = replace(config.queue, groups_per_step=PER_STEP, max_staleness=4, drop_zero_variance=False)
    config.sampling = replace(config.sampling, max_tokens=500, max_trajectory_tokens=1500)
    config.render.sandbox = replace(config.render.sandbox, cpu_s=2, wall_s=20, memory_mb=256)
    config.learner = replace(config.learner, warmup_steps=0)
    return config


async def play(trajectories: int, seed: int, model: str, folder: Path) -> dict[str, Any]:
    """The run. Raises what ended it."""
    from actors.replay.queue import ReplayQueue, fetch
    from actors.rollout.actor import Rollouts
    from serving.judge.service import VisualJudge
    from serving.render.sandbox import tree_bytes
    from serving.render.service import Renders
    from training.learner.ranks import Ranks
    from training.learner.update import Learner

    config = settings(seed)
    renders, judge = Renders(config.render), VisualJudge(config.judge)
    targets = []
    for number, colour in enumerate(COLOURS):
        drawn = await renders.render(f"import matplotlib.pyplot as plt\nplt.bar([1, 2], [4, 5], color='{colour}')")
        targets.append(folder / f"{number}.png")
        targets[-1].write_bytes(normalise(drawn.png or b"", 40_000))
    queue = ReplayQueue.options(num_cpus=0, max_concurrency=64).remote(config, [str(t) for t in targets])  # type: ignore[attr-defined]
    learner = Learner(model, config, Ranks.join(0))
    before = [p.detach().clone() for p in learner.policy.parameters()]
    policies, players = [], []
    for domain in ("chart", "web"):
        own = replace(config, data=replace(config.data, domain=domain))
        policy = Hostile(Codec.load(model, config.prompts), domain, seed)  # type: ignore[arg-type]
        policies.append(policy)
        players.append(Rollouts(domain, own, model, queue, policy, renders, judge))
    for player in players:
        await player.start()
    began, steps, memory, trained, voids = time.monotonic(), 0, [], 0, Counter[str]()
    while trained < trajectories:
        batch = fetch(await queue.take.remote(steps))
        shards, _ = learner.plan(batch)
        panel = await asyncio.to_thread(learner.train, shards[0], steps, steps)
        steps += 1
        trained += sum(len(group.trajectories) for group in batch)
        await queue.set_version.remote(steps)
        for policy, player in zip(policies, players, strict=True):
            policy.version = steps
            voids.update(player._unforeseen.counts)
            await player.check()
        memory.append(tree_bytes(os.getpid()) / 2**20)
        if steps % 10 == 0:
            print(f"{trained} trajectories, loss {panel['loss']}, {memory[-1]:.0f} MB", file=sys.stderr, flush=True)
    for player in players:
        await player.stop()
    account = await queue.account.remote()
    await renders.close()
    await judge.close()
    moved = sum(float((a - b.detach()).abs().sum()) for a, b in zip(before, learner.policy.parameters(), strict=True))
    settled = memory[len(memory) // 4 :]
    return {
        "trajectories": trained, "steps": steps, "seconds": round(time.monotonic() - began, 1),
        "sent": dict(sum((p.sent for p in policies), Counter[str]())), "account": account, "void": dict(voids),
        "balanced": account["dispatched"] == sum(v for k, v in account.items() if k != "dispatched"),
        "moved": moved, "renders": {k: v for k, v in renders.stats().items() if isinstance(v, int | float)},
        "memory_mb": [round(m) for m in memory[:: max(1, len(memory) // 8)]],
        "growth": round(settled[-1] / settled[0] - 1, 3),
    }  # fmt: skip


def left_behind(scratch: Path) -> set[str]:
    """What a run left of its temporary files: in a folder of its own, as others on this machine make such files too."""
    return {str(p) for p in scratch.glob("rrvf-*")}


def run(trajectories: int, seed: int) -> dict[str, Any]:
    import ray

    from training.data.tiny_policy import build
    from training.run.ray_env import set_environment

    set_environment()
    own = family(os.getpid())
    local_ray.start(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scratch").mkdir()
        tempfile.tempdir = str(folder / "scratch")
        try:
            build(folder / "policy", seed=seed)
            found = asyncio.run(play(trajectories, seed, str(folder / "policy"), folder))
            files = sorted(left_behind(folder / "scratch"))
        finally:
            tempfile.tempdir = None
            ray.shutdown()
    for _ in range(100):  # Ray's own processes take a moment
        if not (processes := family(os.getpid()) - own):
            break
        time.sleep(0.1)
    return found | {"processes_left": len(processes), "files_left": files}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    found = run(args.trajectories, args.seed)
    print(json.dumps(found))
    sound = found["balanced"] and found["moved"] > 0 and not found["processes_left"] and not found["files_left"]
    grown = found["steps"] >= SETTLED and found["growth"] >= 0.15
    return 0 if sound and not grown and not found["void"] else 1


if __name__ == "__main__":
    sys.exit(main())
