"""The hybrid reward of one trajectory: pure functions of what happened, never of the program's text.

Guarantees: R = w_v * R_vision + w_f * R_format + w_t * R_tool (RRVF, arXiv 2507.20766, Eq. 2), each part in a fixed
range: R_vision in 0..1 (the judge's similarity of the final render, 0 where nothing rendered), R_format +1 or -1,
R_tool in 0..1. With `tool_gate` no trajectory is paid for having been bad at first: at an equal answer the reward of a
trajectory that made its own first call does not depend on that call. An answer of a similarity below 0.5, whatever
calls come before it, earns less than an answer above 0.82 without any. A failure of infrastructure never comes here:
the episode has raised before.

Why calls are not paid for gain over a first call of their own: let p(s, v) be what an answer of similarity v earns for
a first call of similarity s. If a copy earns nothing, p(v, v) = 0, and an improvement something, p(s, v) > 0 for s < v,
then p falls somewhere as s rises: the policy is paid for a bad first call, and learns to make one
(`tests/actors/rollout/test_reward_learning.py`). Only a gain that telescopes from a fixed start, the sum of (best so
far - best before) from 0, is free of it (Ng, Harada and Russell 1999), and that sum is the answer's similarity, which
R_vision pays already. Where the group shares its first call (`rollout.share_first`) nobody trains on that call and all
start at the same s: there the gain over it is paid.

The paper prints the weights (-0.2, 0.8, 1.0) for (vision, format, tool), which would pay for dissimilarity; the reading
kept as default is 0.8, 0.2, 1.0. `paper_literal` reproduces the print.
"""

import logging
from collections.abc import Sequence
from itertools import pairwise

from actors.trajectory import Ending, Reward, Turn
from configs.schema import RewardWeights

LITERAL = (-0.2, 0.8, 1.0)

log = logging.getLogger(__name__)


def weights(config: RewardWeights) -> tuple[float, float, float]:
    """(vision, format, tool) of a preset; warns about the literal one."""
    if config.preset == "paper_literal":
        log.warning("reward.preset=paper_literal: the printed weights reward LESS similarity; for the record only")
        return LITERAL
    return config.vision, config.format, config.tool


def rendered_calls(turns: Sequence[Turn]) -> int:
    """Tool calls whose program rendered."""
    return sum(turn.kind == "tool_call" and turn.render is not None and turn.render.ok for turn in turns)


def gain(shared: Turn, similarity: float) -> float:
    """R_tool of a member whose first call is its group's: what the answer is more similar than that call, in proportion
    to the answer's similarity (else a bad answer after a worse call outweighs a good answer)."""
    start = shared.verdict.score if shared.verdict is not None else 0.0
    return similarity * max(0.0, similarity - start)


def seen(turns: Sequence[Turn], similarity: float, preset: str) -> float:
    """R_vision of a preset, 0..1, where the last render is that similar.

    strict: the last render's where every render was more similar than the one before, else at most the first's (the
    acceptance rule of ReLook, arXiv 2510.11498, as a reward). textual_visual: the mean of similarity and of that of the
    text alone, where the judge tells it (MSRL, arXiv 2508.13587, whose textual reward compares programs, for which
    there are labels there and none here)."""
    if not similarity:
        return 0.0
    verdicts = [
        turn.verdict for turn in turns if turn.render is not None and turn.render.ok and turn.verdict is not None
    ]
    if preset == "strict":
        scores = [verdict.score for verdict in verdicts]
        return similarity if all(a < b for a, b in pairwise(scores)) else min(scores[0], similarity)
    if preset == "textual_visual":
        return (similarity + verdicts[-1].sub_scores.get("text", similarity)) / 2
    return similarity


def reward(
    turns: Sequence[Turn], ending: Ending, config: RewardWeights, *, shared: bool = False, win_rate: float | None = None
) -> Reward:
    """Reward of a finished trajectory; `shared`: its first call is that of its group; `win_rate`: what its last render
    came to in its group's tournament, which R_vision then is, while R_tool stays a matter of similarity.

    R_vision: similarity of the last render. R_format: +1 where the trajectory ended in a well-formed answer whose
    program rendered, else -1. R_tool: a third per call that rendered, at most 1; with `tool_gate` the gain over a
    shared first call, else nothing; and 1 where similarity exceeds `full_tool_above` (paper, section 3.3: an unaided
    hit needs no tool).
    """
    last = turns[-1] if turns else None
    rendered = last is not None and last.render is not None and last.render.ok
    similarity = last.verdict.score if rendered and last is not None and last.verdict is not None else 0.0
    form = 1.0 if ending == "answer" and rendered else -1.0
    tool = 0.0
    if similarity > config.full_tool_above:
        tool = 1.0
    elif not config.tool_gate:
        tool = min(1.0, rendered_calls(turns) / 3)
    elif shared:
        tool = gain(turns[0], similarity)
    w_vision, w_format, w_tool = weights(config)
    vision = seen(turns, similarity, config.preset) if win_rate is None else win_rate
    return Reward(w_vision * vision + w_format * form + w_tool * tool, vision, form, tool)
