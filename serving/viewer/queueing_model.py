"""What limits a run's steps and what one more unit of a resource would buy: a closed queueing network.

Guarantees: pure arithmetic on measured demands, no fitting to the figure that is predicted.

The model. Members of groups circulate among three stations and a delay. The engine works on n requests at once at a
rate of n / (a + b n) tokens a second a replica: a decoding step costs a fixed part and a part for each sequence.
Renderer and judge are queues with c servers. The delay is all else a member lives through, waiting for the rest of its
group included. Product-form solution by convolution (Buzen, CACM 16(9), 1973; load-dependent rates as in Reiser and
Lavenberg, JACM 27(2), 1980) gives X, members a second. A batch of B groups of G, of which a share y is of use, takes
R = B G / (y X); a learner step takes L. With staleness allowed both go on at once and a step takes max(R, L); without,
R + L. What it leaves out: that learner, engine and renderers may compete for the same processors, that service times
vary with load, and that the slower of two varying things is slower than the larger of their means.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Demands:
    """What a member needs, as measured (seconds, tokens), and what the learner does a step."""

    tokens: float  # sampled, a member
    token_fixed_s: float  # a: one engine's decoding step, whatever the number of sequences
    token_each_s: float  # b: and for each sequence in it
    render_s: float  # of work, a member
    judge_s: float
    delay_s: float
    useful: float  # share of played members that are trained on
    update_s: float  # the learner's part that more workers would share
    fixed_s: float  # its other parts: preparing, synchronising, saving


@dataclass(frozen=True)
class Layout:
    """What the run had, or might have."""

    engines: int
    renderers: int
    judges: int
    learners: int
    slots: int  # groups under way at most
    group_size: int
    groups_per_step: int
    max_staleness: int

    @property
    def members(self) -> int:
        """Under way at most: the staleness bound admits no more groups than the next batches need."""
        return self.group_size * min(self.slots, (self.max_staleness + 1) * self.groups_per_step)


def throughput(members: int, stations: list[tuple[float, Callable[[np.ndarray], np.ndarray]]], delay: float) -> float:
    """Members a second through a closed network of `members`. `stations`: (seconds of work of one member alone, how
    many times faster j members at once are served than one, for an array of j)."""
    count = np.arange(1, members + 1, dtype=float)
    steps = [np.log(max(work, 1e-9)) - np.log(speed(count)) for work, speed in stations]
    steps.append(np.log(max(delay, 1e-9)) - np.log(count))
    slowest = max(float(np.exp(s[-1])) for s in steps[:-1])
    scale = max(slowest, (sum(work for work, _ in stations) + delay) / members)  # about 1/X: keeps the sums in range
    total = np.ones(1)
    for step in steps:
        logs = np.concatenate([[0.0], np.cumsum(step - np.log(scale))])
        total = np.convolve(total, np.exp(logs - logs.max()))[: members + 1]
        total /= total.max()
    return float(total[members - 1] / total[members] / scale)


def step_seconds(need: Demands, have: Layout) -> dict[str, float]:
    """Seconds of a step: `rollouts` for one batch, `learner` for one update, and what comes of both (`step`)."""
    a, b, engines = need.token_fixed_s, need.token_each_s, have.engines
    stations: list[tuple[float, Callable[[np.ndarray], np.ndarray]]] = [
        (need.tokens * (a + b), lambda n: n * (a + b) / (a + b * np.maximum(1.0, n / engines))),
        (need.render_s, lambda n: np.minimum(n, have.renderers)),
        (need.judge_s, lambda n: np.minimum(n, have.judges)),
    ]
    played = throughput(have.members, stations, need.delay_s)
    rollouts = have.groups_per_step * have.group_size / (max(need.useful, 1e-3) * played)
    learner = need.update_s / have.learners + need.fixed_s
    step = max(rollouts, learner) if have.max_staleness else rollouts + learner
    return {"rollouts": rollouts, "learner": learner, "step": step}


UNITS = {
    "one more engine": "engines",
    "one more render process": "renderers",
    "one more judge worker": "judges",
    "one more learner worker": "learners",
    "one more group under way": "slots",
    "one more version of staleness": "max_staleness",
}


def next_units(need: Demands, have: Layout) -> list[dict[str, float | str]]:
    """What each next unit alone would make of a step, the most useful first; every unit with processors of its own."""
    now = step_seconds(need, have)["step"]
    found: list[dict[str, float | str]] = []
    for words, field in UNITS.items():
        then = step_seconds(need, replace(have, **{field: getattr(have, field) + 1}))["step"]
        found.append({"unit": words, "step_s": then, "faster": max(0.0, round(now / then - 1, 6))})
    return sorted(found, key=lambda row: -float(row["faster"]))
