"""Win rates inside a group: who meets whom, what a rate is, and what neither draws nor answers."""

import asyncio
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from actors.contracts import Outage, Verdict
from actors.dialogue import Codec
from actors.replay.ledger import Ticket
from actors.rollout.actor import Against, play_group
from actors.rollout.episode import Environment, Rules
from actors.rollout.tournament import pairings, win_rates
from actors.rollout.waits import Waits, watched
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling
from tests.actors.rollout.test_episode import ANSWER, CALL, Easel, Script


class Larger:
    """Prefers the render whose number is larger; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, bytes]] = []

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: str) -> float:
        self.asked.append((first, second))
        return 0.5 + 0.5 * ((first > second) - (first < second))


def rates(*renders: int | None, judge: Larger | None = None) -> list[float]:
    pictures = [None if r is None else bytes([r]) for r in renders]
    return asyncio.run(win_rates(b"t", pictures, judge or Larger(), "chart"))  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 64, 100])
def test_a_group_costs_at_most_n_log_n_and_everybody_meets_as_many(n: int) -> None:
    pairs = pairings(n)
    assert len(pairs) <= n * math.log2(max(1, n)) and len({frozenset(p) for p in pairs}) == len(pairs)
    met = [sum(i in pair for pair in pairs) for i in range(n)]
    assert len(set(met)) <= 1 and all(i != j for i, j in pairs)
    if 2 <= n <= 5:
        assert met[0] == n - 1  # all pairs are few enough


def test_rates_of_a_small_group_are_exact() -> None:
    assert rates(1, 2, 3, 4) == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert rates(2, 2, 1) == pytest.approx([0.75, 0.75, 0])


def test_rates_of_a_large_group_follow_the_order_and_are_right_on_average() -> None:
    sums = [0.0] * 16
    for seed in range(300):
        order = random.Random(seed).sample(range(16), 16)
        for number, rate in zip(order, rates(*order), strict=True):
            sums[number] += rate / 300
    assert sums == pytest.approx([number / 15 for number in range(16)], abs=0.03)


def test_who_drew_nothing_loses_to_all_that_drew_and_nobody_is_asked() -> None:
    judge = Larger()
    assert rates(None, 1, None, 2, judge=judge) == pytest.approx([0, 2 / 3, 0, 1])
    assert judge.asked == [(b"\x01", b"\x02")]
    assert rates(None, None) == [0, 0] and rates(None, 5, None) == [0, 1, 0] and rates(5) == [0]


def test_equal_pictures_are_not_asked_about() -> None:
    judge = Larger()
    assert rates(3, 3, 3, judge=judge) == [0.5] * 3 and not judge.asked


class Eye(Larger):
    """Marks every picture alike but prefers what is nearer to its list's end; may be down for comparisons."""

    def __init__(self, order: Sequence[bytes], fault: Exception | None = None) -> None:
        super().__init__()
        self.order, self.fault, self.targets = list(order), fault, set[bytes]()

    async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
        return Verdict(0.4, "another colour", "test")

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: str) -> float:
        if self.fault is not None:
            raise self.fault
        self.targets.add(target)
        places = self.order.index(first), self.order.index(second)
        return await super().prefer(target, bytes([places[0]]), bytes([places[1]]), domain)


COLOURS = ("green", "blue", "yellow", "black")


@pytest.fixture
def rules() -> Rules:
    rollout = Rollout(group_size=5, retries=1, max_turns=2)
    return Rules("chart", rollout, Sampling(), Feedback(), RewardWeights(), pairwise=True)


@pytest.fixture
def group(tiny_model: Path, prompts: Prompts, picture: Callable[..., bytes], rules: Rules) -> Callable[..., tuple]:
    codec = Codec.load(str(tiny_model), prompts)

    def run(*lines: str | Exception, fault: Exception | None = None, target: bytes | None = None) -> tuple:
        judge = Eye([picture(c) for c in COLOURS], fault)
        seen = Waits()
        env = watched(Environment(Script(codec, lines), Easel(picture), judge, codec), seen)  # type: ignore[arg-type]
        if target is not None:
            env = replace(env, judge=Against(env.judge, target))
        members, made = asyncio.run(play_group(Ticket(7, 1), picture("red"), env, rules))
        return members, made, judge, seen

    return run


def test_members_are_rewarded_by_rank_and_keep_their_similarity(group: Callable[..., tuple]) -> None:
    lines = [ANSWER.format(f"ok:{c}") for c in COLOURS] + [ANSWER.format("oops")]
    members, made, judge, seen = group(*lines)
    assert members == ["done"] * 5 and len(judge.asked) == 6
    assert [t.reward.vision for t in made.trajectories] == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.0])
    assert [t.similarity for t in made.trajectories] == [0.4] * 4 + [0.0]
    best, failed = made.trajectories[3].reward, made.trajectories[4].reward
    assert best.total == pytest.approx(0.8 + 0.2) and failed.total == pytest.approx(-0.2)
    assert len(seen._finished["judge"]) == 4 + 6  # comparisons wait as marks do


def test_a_void_member_takes_no_part(group: Callable[..., tuple]) -> None:
    lines = [*[ANSWER.format(f"ok:{c}") for c in COLOURS], Outage("engine", "gone"), Outage("engine", "gone")]
    members, made, *_ = group(*lines)
    assert sorted(members) == ["done"] * 4 + ["engine"]
    assert [t.reward.vision for t in made.trajectories] == pytest.approx([0, 1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(("fault", "outcome"), [(Outage("judge", "down"), "judge"), (KeyError("?"), "error: KeyError")])
def test_a_tournament_without_a_result_is_no_reward(
    group: Callable[..., tuple], fault: Exception, outcome: str
) -> None:
    members, made, *_ = group(*[ANSWER.format(f"ok:{c}") for c in (*COLOURS, "green")], fault=fault)
    assert members == [outcome] * 5 and made.trajectories == ()


def test_the_exchanged_target_is_what_comparisons_see(
    group: Callable[..., tuple], picture: Callable[..., bytes]
) -> None:
    lines = [ANSWER.format(f"ok:{c}") for c in (*COLOURS, "green")]
    *_, judge, _ = group(*lines, target=picture("white"))
    assert judge.targets == {picture("white")}


def test_turns_still_get_feedback(group: Callable[..., tuple]) -> None:
    lines = [CALL.format("ok:green"), ANSWER.format("ok:black")] * 5
    _, made, judge, _ = group(*lines)
    assert [t.reward.vision for t in made.trajectories] == [0.5] * 5 and not judge.asked
    assert all(len(t.turns) == 2 for t in made.trajectories)
