"""The hybrid reward of one trajectory: pure functions of what happened, never of the program's text.

Guarantees: R = w_v * R_vision + w_f * R_format + w_t * R_tool (RRVF, arXiv 2507.20766, Eq. 2), each part in a fixed
range: R_vision in 0..1 (the judge's similarity of the final render, 0 where nothing rendered), R_format +1 or -1,
R_tool in 0..1. A failure of infrastructure never comes here: the episode has raised before.

The paper prints the weights (-0.2, 0.8, 1.0) for (vision, format, tool), which would pay for dissimilarity; the reading
kept as default is 0.8, 0.2, 1.0. `paper_literal` reproduces the print.
"""

import logging
from collections.abc import Sequence

from actors.trajectory import Ending, Reward, Turn
from configs.schema import RewardWeights

LITERAL = (-0.2, 0.8, 1.0)
BLANK_SCORE = 1e-9  # a judge gives blank renders exactly 0

log = logging.getLogger(__name__)


def weights(config: RewardWeights) -> tuple[float, float, float]:
    """(vision, format, tool) of a preset; warns about the literal one."""
    if config.preset == "paper_literal":
        log.warning("reward.preset=paper_literal: the printed weights reward LESS similarity; for the record only")
        return LITERAL
    return config.vision, config.format, config.tool


def successful_calls(turns: Sequence[Turn], gate: bool) -> int:
    """Tool calls that rendered; with `gate`, only those whose render is not blank and new in this trajectory
    (otherwise three trivial calls outweigh an honest picture)."""
    seen: set[bytes] = set()
    count = 0
    for turn in turns:
        if turn.kind != "tool_call" or turn.render is None or not turn.render.ok:
            continue
        png = turn.render.png or b""
        blank = turn.verdict is None or turn.verdict.score <= BLANK_SCORE
        if gate and (png in seen or blank):
            continue
        seen.add(png)
        count += 1
    return count


def reward(turns: Sequence[Turn], ending: Ending, config: RewardWeights) -> Reward:
    """Reward of a finished trajectory.

    R_vision: similarity of the last render. R_format: +1 where the trajectory ended in a well-formed answer whose
    program rendered, else -1. R_tool: a third per successful call, at most 1, and 1 where similarity exceeds
    `full_tool_above` (paper, section 3.3: an unaided hit needs no tool).
    """
    last = turns[-1] if turns else None
    rendered = last is not None and last.render is not None and last.render.ok
    vision = last.verdict.score if rendered and last is not None and last.verdict is not None else 0.0
    form = 1.0 if ending == "answer" and rendered else -1.0
    tool = min(1.0, successful_calls(turns, config.tool_gate) / 3)
    if vision > config.full_tool_above:
        tool = 1.0
    w_vision, w_format, w_tool = weights(config)
    return Reward(w_vision * vision + w_format * form + w_tool * tool, vision, form, tool)
