"""Win rates inside a group: renders are compared with each other instead of getting marks (`judge.mode=pairwise`).

Guarantees: n members that drew something cost at most n log2 n comparisons, all at once and each pair at most once;
everybody meets as many others, and who meets whom does not depend on what they drew, so a win rate is an unbiased
estimate of the share of the others that a member beats; two equal pictures are neither asked about nor different; a
member that drew nothing has rate 0 and loses to all that drew without a question. A comparison that meets an Outage
ends the tournament: rates of half a tournament are no rewards.

Members end at different times, so this runs once all of them have ended and before the group goes to the queue. Void
members take no part: nobody wins against an outage. A merge sort would need as few comparisons, but one after the
other, and one wrong answer would displace whole runs. Why compare at all: UI2Code^N (arXiv 2511.08195) found marks of a
CLIP model to train worse than no reinforcement learning, and comparisons inside the group to train best.
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

from actors.contracts import Domain, Judge
from actors.rollout.reward import reward
from actors.trajectory import Trajectory
from configs.schema import RewardWeights

BLANK_SCORE = 1e-9  # a judge gives blank renders exactly 0


def pairings(n: int) -> list[tuple[int, int]]:
    """Who meets whom of `n` exchangeable members: each the next floor(log2 n) in a circle, or everybody if these are
    all. At most n log2 n pairs, none twice."""
    reach = int(math.log2(n)) if n else 0
    if 2 * reach >= n - 1:
        return [(i, j) for i in range(n) for j in range(i + 1, n)]
    return [(i, (i + step) % n) for i in range(n) for step in range(1, reach + 1)]


async def win_rates(target: bytes, renders: Sequence[bytes | None], judge: Judge, domain: Domain) -> list[float]:
    """For each render (PNG; None where nothing was drawn) the share 0..1 of the other members that it beats, a draw
    being half a win. Raises Outage."""
    drawn = [i for i, png in enumerate(renders) if png is not None]
    pairs = [(drawn[a], drawn[b]) for a, b in pairings(len(drawn))]

    async def met(i: int, j: int) -> float:
        first, second = renders[i], renders[j]
        assert first is not None and second is not None
        return 0.5 if first == second else await judge.prefer(target, first, second, domain)

    tasks = [asyncio.create_task(met(i, j)) for i, j in pairs]
    try:
        won = await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # after an outage nobody needs the others' answers
            task.cancel()
    points, matches = [0.0] * len(renders), [0] * len(renders)
    for (i, j), share in zip(pairs, won, strict=True):
        points[i] += share
        points[j] += 1 - share
        matches[i] += 1
        matches[j] += 1
    others, rivals = max(1, len(renders) - 1), len(drawn) - 1
    rates = [0.0] * len(renders)
    for i in drawn:
        among_drawn = rivals * points[i] / matches[i] if matches[i] else 0.0
        rates[i] = (len(renders) - len(drawn) + among_drawn) / others
    return rates


def last_drawn(played: Trajectory) -> bytes | None:
    """The picture of a trajectory's last turn; None where it drew nothing, or a blank one."""
    return played.turns[-1].render.png if played.similarity > BLANK_SCORE and played.turns[-1].render else None


async def ranked(
    target: bytes, played: Sequence[Trajectory], judge: Judge, domain: Domain, weights: RewardWeights, *, shared: bool
) -> list[Trajectory]:
    """The trajectories of one group with win rates in the place of similarity in their rewards. Raises Outage."""
    rates = await win_rates(target, [last_drawn(t) for t in played], judge, domain)
    return [
        replace(t, reward=reward(t.turns, t.ending, weights, shared=shared, win_rate=rate))
        for t, rate in zip(played, rates, strict=True)
    ]
