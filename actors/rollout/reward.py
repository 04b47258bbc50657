"""The hybrid reward of one trajectory: pure functions of what happened, never of the program's text.

Guarantees: R = w_v * R_vision + w_f * R_format + w_t * R_tool (RRVF, arXiv 2507.20766, Eq. 2), each part in a fixed
range: R_vision in 0..1 (the judge's similarity of the final render, 0 where nothing rendered), R_format +1 or -1,
R_tool in 0..1. With `tool_gate`, R_tool pays for gain alone: an answer of a similarity below 0.5, whatever calls come
before it, earns less than an answer above 0.82 without any. A failure of infrastructure never comes here: the episode
has raised before.

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


def scores_of_calls(turns: Sequence[Turn]) -> list[float]:
    """Similarities of the tool calls that rendered, in order."""
    calls = [turn for turn in turns if turn.kind == "tool_call" and turn.render is not None and turn.render.ok]
    return [call.verdict.score if call.verdict is not None else 0.0 for call in calls]


def gated(scores: Sequence[float], vision: float) -> float:
    """R_tool that pays for gain: what the answer is more similar than the first call that drew anything, in proportion
    to the answer's similarity (else bad calls before a bad answer outweigh a good answer)."""
    drawn = [score for score in scores if score > BLANK_SCORE]
    return vision * max(0.0, vision - drawn[0]) if drawn else 0.0


def reward(turns: Sequence[Turn], ending: Ending, config: RewardWeights) -> Reward:
    """Reward of a finished trajectory.

    R_vision: similarity of the last render. R_format: +1 where the trajectory ended in a well-formed answer whose
    program rendered, else -1. R_tool: a third per call that rendered, at most 1, or what they gained (`gated`); and 1
    where similarity exceeds `full_tool_above` (paper, section 3.3: an unaided hit needs no tool).
    """
    last = turns[-1] if turns else None
    rendered = last is not None and last.render is not None and last.render.ok
    vision = last.verdict.score if rendered and last is not None and last.verdict is not None else 0.0
    form = 1.0 if ending == "answer" and rendered else -1.0
    scores = scores_of_calls(turns)
    tool = gated(scores, vision) if config.tool_gate else min(1.0, len(scores) / 3)
    if vision > config.full_tool_above:
        tool = 1.0
    w_vision, w_format, w_tool = weights(config)
    return Reward(w_vision * vision + w_format * form + w_tool * tool, vision, form, tool)
