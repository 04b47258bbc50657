"""What no one foresaw makes a member void, by name, and ends a run only when it is common."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.contracts import RenderResult, Sample, Verdict
from actors.dialogue import Codec
from actors.replay.ledger import Ticket
from actors.rollout.actor import play_group
from actors.rollout.episode import Environment, Rules
from actors.rollout.own_reward import OwnReward
from actors.rollout.unforeseen import WINDOW, TooManyErrors, Unforeseen
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling


class Confused:
    """Every other turn ends in an exception that no contract names."""

    def __init__(self, codec: Codec) -> None:
        self.codec, self.asked = codec, 0

    async def sample(self, prompt_ids: list[int], images: list[bytes], *, max_tokens: int, session: str) -> Sample:
        self.asked += 1
        if self.asked % 2:
            raise ZeroDivisionError(f"in {session}")
        ids = tuple(self.codec.encode("<think>t</think><answer>x</answer>"))
        expanded = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), expanded, "stop")

    async def render(self, source: str, domain: str) -> RenderResult:
        return RenderResult(True, 0.0, b"x", (1, 1))

    async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
        return Verdict(0.5, "", "test")


def test_an_exception_voids_its_member_and_leaves_the_others(
    tiny_model: Path, prompts: Prompts, picture: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    codec = Codec.load(str(tiny_model), prompts)
    both = Confused(codec)
    rules = Rules("chart", Rollout(group_size=6, single_turn=True), Sampling(), Feedback(), RewardWeights())
    unforeseen = Unforeseen()
    env = Environment(both, both, both, codec)  # type: ignore[arg-type]
    members, group = asyncio.run(play_group(Ticket(1, 0), picture(), env, rules, unforeseen))
    assert sorted(members) == ["done"] * 3 + ["error: ZeroDivisionError"] * 3 and len(group.trajectories) == 3
    assert both.asked == 6, "what is no outage is not tried again"
    assert unforeseen.counts == {"ZeroDivisionError": 3}
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1 and "ZeroDivisionError" in logged[0].getMessage(), "the first traceback, and no more"


def test_a_few_errors_end_nothing_and_many_end_the_run() -> None:
    unforeseen = Unforeseen()
    unforeseen.played(["done"] * WINDOW + ["error: KeyError"] * (WINDOW // 4) + ["render"])
    unforeseen.check()
    unforeseen.played(["error: KeyError", "error: OSError", "judge"])
    with pytest.raises(TooManyErrors, match="17 x KeyError, 1 x OSError"):
        unforeseen.check()
    unforeseen.played(["done"] * WINDOW)
    unforeseen.check()


class Steady(Confused):
    """A policy that answers every time."""

    asked = property(lambda self: 1, lambda self, value: None)  # type: ignore[assignment]

    async def sample(self, prompt_ids, images, *, max_tokens, session):  # type: ignore[no-untyped-def]
        ids = tuple(self.codec.encode("<think>t</think><answer>x</answer>"))
        expanded = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), expanded, "stop")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("reward", ""), ("raises", "raised KeyError: 'no such colour'"), ("nan", "gave nan: a reward is a finite number")],
)
def test_a_reward_of_ones_own_is_the_total_or_voids_its_member_with_a_line(
    name: str, expected: str, tiny_model: Path, prompts: Prompts, picture: Callable[..., bytes]
) -> None:
    codec = Codec.load(str(tiny_model), prompts)
    both = Steady(codec)
    rules = Rules("chart", Rollout(group_size=3, single_turn=True), Sampling(), Feedback(), RewardWeights())
    unforeseen = Unforeseen()
    env = Environment(both, both, both, codec)  # type: ignore[arg-type]
    own_file = Path(__file__).parents[1] / "own.py"

    async def play() -> tuple[list[str], list[float]]:
        own = OwnReward(RewardWeights(function=f"{own_file}:{name}"))
        try:
            members, group = await play_group(Ticket(1, 0), picture(), env, rules, unforeseen, own=own)
        finally:
            await own.close()
        return members, [t.reward.total for t in group.trajectories]

    members, totals = asyncio.run(play())
    if not expected:
        assert members == ["done"] * 3 and totals == [10 * 0.5 + 1 + 1] * 3 and unforeseen.lines() == []
    else:
        assert members == ["reward"] * 3 and totals == []
        (line,) = unforeseen.lines()
        assert line.startswith("3 members void by reward: ") and expected in line and unforeseen.lines() == []
