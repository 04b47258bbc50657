"""Turn, Trajectory and Group: plain frozen data, the only thing that travels from rollout to learner.

Guarantees: a trajectory is one append-only list of token ids with a mask of what was sampled; `logprobs` and `versions`
are aligned with `token_ids` (0.0 and -1 where nothing was sampled). Images are PNG bytes in placeholder order.
"""

from dataclasses import dataclass
from typing import Literal

from actors.contracts import RenderResult, Verdict

Ending = Literal["answer", "last_turn", "malformed", "length"]


@dataclass(frozen=True)
class Turn:
    """One turn: the text that was sampled, the code found in it, and what came back of that code."""

    text: str
    kind: Literal["tool_call", "answer", "malformed"]
    code: str | None
    render: RenderResult | None
    verdict: Verdict | None
    sampled: int  # tokens sampled in this turn
    seconds: tuple[float, float, float]  # generation, render, judge
    began: float = 0.0  # seconds since the epoch; the three follow one another from here
    cut: bool = False  # malformed because it reached its limit of tokens


@dataclass(frozen=True)
class Reward:
    """R = w_vision * vision + w_format * format + w_tool * tool, with its parts (see actors.rollout.reward).
    `vision` is the similarity of the last render, with judge.mode=pairwise its win rate inside the group."""

    total: float
    vision: float
    format: float
    tool: float


@dataclass(frozen=True)
class Trajectory:
    """One finished episode. Lists of length L = len(token_ids), placeholders expanded (the learner's ids)."""

    token_ids: tuple[int, ...]
    sampled: tuple[bool, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    images: tuple[bytes, ...]
    turns: tuple[Turn, ...]
    ending: Ending
    reward: Reward
    control: bool = False  # played to compare others with it; never trained on

    @property
    def ran(self) -> bool:
        """Whether the last turn's program ran."""
        return bool(self.turns) and self.turns[-1].render is not None and self.turns[-1].render.ok

    @property
    def similarity(self) -> float:
        """The judge's similarity of the last turn's render, 0 where nothing was drawn, whatever the reward compares."""
        verdict = self.turns[-1].verdict if self.ran else None
        return verdict.score if verdict is not None else 0.0

    @property
    def oldest_version(self) -> int:
        return min(v for v in self.versions if v >= 0)


@dataclass(frozen=True)
class Group:
    """G trajectories of one prompt. `group` is assigned at dispatch and never reused."""

    group: int
    prompt: int  # index of the image in the data set
    trajectories: tuple[Trajectory, ...]

    @property
    def oldest_version(self) -> int:
        return min(t.oldest_version for t in self.trajectories)
