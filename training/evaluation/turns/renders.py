"""Are turns worth their renders? Episodes of up to k turns against independent answers that render as often.

Guarantees: both sides see the same pictures, are sampled from one policy at one temperature and are drawn and judged
alike; a picture's independent answers are exactly as many as its episode rendered programs. The judge picks the best of
the answers; an episode counts by its last program, as it is rewarded, and by its best as well.
"""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from actors.contracts import Outage
from actors.images import read_image
from actors.rollout.actor import play_member
from actors.rollout.episode import Environment, Rules
from actors.trajectory import Trajectory
from training.data.image_sets import ImageSet
from training.evaluation.paired import difference
from training.evaluation.turns.second import gathered


async def episodes(
    images: ImageSet, env: Environment, rules: Rules, max_pixels: int
) -> list[tuple[Trajectory, list[Trajectory]]]:
    """For each picture an episode with the tool, and as many single answers as it rendered. Raises Outage."""
    with_tool = replace(rules, rollout=replace(rules.rollout, single_turn=False))
    direct = replace(rules, rollout=replace(rules.rollout, single_turn=True))

    async def play(image: bytes, how: Rules, session: str) -> Trajectory:
        played = await play_member(image, env, how, session)
        if isinstance(played, str):
            raise Outage(played, f"{session} has no result")
        return played

    async def one(path: str) -> tuple[Trajectory, list[Trajectory]]:
        image = read_image(path, max_pixels)
        episode = await play(image, with_tool, f"turns.{path}")
        count = max(1, sum(turn.code is not None for turn in episode.turns))
        return episode, [await play(image, direct, f"alone.{path}.{n}") for n in range(count)]

    return await gathered([lambda p=p: one(p) for p in images.paths])  # type: ignore[misc]


def against_best(played: Sequence[tuple[Trajectory, list[Trajectory]]]) -> dict[str, Any]:
    """Mean similarities of last and best program of the episodes, of the best and of the first independent answer, and
    the paired differences of turns over the best one with 95% intervals."""

    def best_of(episode: Trajectory) -> float:
        return max((t.verdict.score for t in episode.turns if t.verdict is not None), default=0.0)

    sides = {
        "last_program": [episode.similarity for episode, _ in played],
        "best_program": [best_of(episode) for episode, _ in played],
        "best_of_independent": [max(t.similarity for t in alone) for _, alone in played],
        "first_independent": [alone[0].similarity for _, alone in played],
    }
    result: dict[str, Any] = {"n": len(played), "renders": fmean(len(alone) for _, alone in played)}
    result |= {name: fmean(values) for name, values in sides.items()}
    for name in ("last_program", "best_program"):
        gain = difference([sides[name]], [sides["best_of_independent"]])
        result[f"{name} - best_of_independent"] = [round(v, 4) for v in gain]
    return result
