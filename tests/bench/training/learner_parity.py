"""Engine against learner: log-probabilities of the same multi-turn, multi-image trajectories under the same weights.

vLLM samples them; the learner scores them in packed micro-batches with shared prompts. Natural logs, largest and mean
absolute difference, k3; float32 and bfloat16 (engine and learner both).
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import torch

from actors.dialogue import Codec, Dialogue
from actors.engine.policy import PolicyEngine
from actors.trajectory import Group, Reward, Trajectory
from configs.schema import Config, Prompts
from tests.training import tiny
from training.learner.ranks import Ranks
from training.learner.update import Learner

GROUPS, MEMBERS, TURNS, TOKENS = 4, 4, 3, 24


def main(out_dir: Path) -> dict[str, Any]:
    folder = tiny.build_model(Path(tempfile.mkdtemp()) / "policy", scale=2.0)
    return {dtype: compare(folder, dtype) for dtype in ("float32", "bfloat16")}


def compare(folder: Path, dtype: str) -> dict[str, Any]:
    config = Config()
    config.policy.dtype = dtype
    groups = asyncio.run(play(folder, config))
    learner = Learner(str(folder), config, Ranks.join(0))
    shards, screened = learner.plan(groups)
    gaps = []
    with torch.no_grad():
        for bundles in shards[0].updates[0]:
            batch, logp, _ = learner._forward(learner.policy, bundles, shards[0].images)
            gaps.append(logp.float() - batch.behaviour)
    gap = torch.cat(gaps)
    result = {
        "trajectories": len(screened.rows),
        "dropped": dict(screened.dropped),
        "pictures": sum(len(row.images) for row in screened.rows),
        "sampled_tokens": len(gap),
        "max": float(f"{gap.abs().max():.3g}"),
        "mean": float(f"{gap.abs().mean():.3g}"),
        "k3": float(f"{(gap.expm1() - gap).mean():.3g}"),
    }
    print(f"{dtype}: {result}")
    return result


async def play(folder: Path, config: Config) -> list[Group]:
    """Every member of every group at once, so that the engine batches as it does in a run."""
    codec = Codec.load(str(folder), Prompts(system="s", user="u"))
    engine = PolicyEngine(str(folder), config)
    try:

        async def member(number: int, place: int) -> Trajectory:
            dialogue = Dialogue.start(codec, tiny.picture(number))
            for turn in range(TURNS):
                dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, TOKENS))
                if turn + 1 < TURNS:
                    size = (168, 140) if place % 2 else (112, 168)
                    dialogue.add_feedback("other", tiny.picture(100 * number + 10 * place + turn, size))
            fields = (dialogue.full_ids, dialogue.sampled, dialogue.logprobs, dialogue.versions, dialogue.images)
            return Trajectory(*map(tuple, fields), (), "answer", Reward(float(place), 0.0, 0.0, 0.0))  # type: ignore[arg-type]

        played = await asyncio.gather(*(member(n, p) for n in range(GROUPS) for p in range(MEMBERS)))
    finally:
        await engine.close()
    return [Group(n, n, tuple(played[n * MEMBERS : (n + 1) * MEMBERS])) for n in range(GROUPS)]
