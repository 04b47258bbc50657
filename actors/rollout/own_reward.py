"""A reward that the user wrote: `reward.function=path/to/file.py:function`.

Guarantees: the function is called as function(turns, ending, parts) with the `actors.trajectory` types of a finished
trajectory and the built-in parts of its reward, in a process of its own (`actors.outside`); its number is the
trajectory's total reward. An exception, no answer within reward.deadline_s, or what is no finite number is an Outage
that names the function: the member is void, and no number takes its place. Evaluation reports similarity and never
calls it.
"""

import math
from dataclasses import replace

from actors.contracts import Outage
from actors.outside import Outside
from actors.trajectory import Trajectory
from configs.schema import RewardWeights


class OwnReward:
    """The function of the settings."""

    def __init__(self, config: RewardWeights) -> None:
        self._name = config.function
        self._call = Outside("reward", config.function, config.deadline_s)

    async def of(self, played: Trajectory) -> Trajectory:
        """The trajectory with its own total. Raises Outage."""
        found = await self._call(played.turns, played.ending, played.reward)
        if isinstance(found, bool) or not hasattr(found, "__float__"):
            raise Outage("reward", f"{self._name} gave {type(found).__name__}: it must give a number")
        if not math.isfinite(float(found)):
            raise Outage("reward", f"{self._name} gave {float(found):g}: a reward is a finite number")
        return replace(played, reward=replace(played.reward, total=float(found)))

    async def close(self) -> None:
        await self._call.close()
