"""What turns bring: how often the tool is called, and what a further program is worth over the best before it.

Guarantees: a figure that nothing was measured for is nan, never a zero; trajectories played to be compared with
(`control`: empty feedback after a shared first turn) are kept apart, so that `call_gain - control_gain` is what the
feedback itself is worth.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate

from actors.trajectory import Trajectory


def call_gains(played: Trajectory) -> list[float]:
    """Similarity of every program after the first, over the best before it; one that does not run has none."""
    scores = [t.verdict.score if t.verdict is not None else 0.0 for t in played.turns if t.code is not None]
    return [score - best for score, best in zip(scores[1:], accumulate(scores, max), strict=False)]


def repeats(played: Trajectory) -> list[bool]:
    """Of every program after the first: whether it was written before, word for word."""
    codes = [t.code for t in played.turns if t.code is not None]
    return [code in codes[:n] for n, code in enumerate(codes) if n]


def turn_figures(played: Sequence[Trajectory]) -> dict[str, float]:
    """calls (a trajectory), first_similarity, call_gain, calls_improve, calls_repeat (shares of later programs), and
    control_gain."""
    own = [t for t in played if not t.control]
    gained = [g for t in own for g in call_gains(t)]
    first = [t.turns[0].verdict.score if t.turns[0].verdict else 0.0 for t in own if t.turns]
    return {
        "calls": _mean(sum(turn.kind == "tool_call" for turn in t.turns) for t in own),
        "first_similarity": _mean(first),
        "call_gain": _mean(gained),
        "calls_improve": _mean(g > 0 for g in gained),
        "calls_repeat": _mean(r for t in own for r in repeats(t)),
        "control_gain": _mean(g for t in played if t.control for g in call_gains(t)),
    }


def _mean(values: Iterable[float]) -> float:
    held = [float(v) for v in values]
    return sum(held) / len(held) if held else math.nan
