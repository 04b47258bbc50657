"""What a policy learns that is free to choose how good its first call is: the argument of `actors.rollout.reward`.

A policy of two independent choices, the quality of a first call and that of the answer after it, is trained by GRPO's
advantages on sampled groups. The answer does not need the first call: the target is in view all the time.
"""

import numpy as np
import pytest

from actors.contracts import RenderResult, Verdict
from actors.rollout.reward import reward
from actors.trajectory import Turn
from configs.schema import RewardWeights

QUALITIES = np.array([0.1, 0.3, 0.5, 0.7])
WEIGHTS = RewardWeights()
GROUP, STEPS, LR = 8, 600, 0.2


def turn(kind: str, score: float) -> Turn:
    render = RenderResult(True, 0.0, b"png", (1, 1))
    return Turn("", kind, "code", render, Verdict(score, "", "test"), 1, (0.0, 0.0, 0.0))  # type: ignore[arg-type]


def paid(first: float, answer: float, *, shared: bool) -> float:
    turns = [turn("tool_call", first), turn("answer", answer)]
    return reward(turns, "answer", WEIGHTS, shared=shared).total


def gain_over_own_first(first: float, answer: float, *, shared: bool) -> float:
    """The rule that was here before: the answer's gain over the trajectory's own first call."""
    return paid(first, answer, shared=False) + answer * max(0.0, answer - first)


def learned(rule, *, shared: bool, seed: int) -> tuple[float, float]:
    """Mean quality of first call and answer after training, .4 and .4 before. A shared first call is drawn once a group
    and not trained on."""
    rng = np.random.default_rng(seed)
    logits = np.zeros((2, len(QUALITIES)))
    for _ in range(STEPS):
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        firsts = rng.choice(len(QUALITIES), GROUP, p=chances[0])
        if shared:
            firsts[:] = firsts[0]
        answers = rng.choice(len(QUALITIES), GROUP, p=chances[1])
        rewards = np.array(
            [rule(QUALITIES[f], QUALITIES[a], shared=shared) for f, a in zip(firsts, answers, strict=True)]
        )
        advantages = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for row, chosen in ((0, firsts), (1, answers)):
            if row == 0 and shared:
                continue
            grad = np.eye(len(QUALITIES))[chosen] - chances[row]
            logits[row] += LR * (advantages[:, None] * grad).mean(axis=0)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    first, answer = chances @ QUALITIES
    return float(first), float(answer)


def mean(rule, *, shared: bool) -> tuple[float, float]:
    found = np.array([learned(rule, shared=shared, seed=seed) for seed in range(5)])
    return tuple(found.mean(axis=0))


def test_pay_for_gain_over_ones_own_first_call_drives_that_call_down() -> None:
    first, answer = mean(gain_over_own_first, shared=False)
    assert first < 0.15 and answer > 0.65


@pytest.mark.parametrize("shared", [False, True])
def test_the_reward_leaves_the_first_call_alone_and_lifts_the_answer(shared: bool) -> None:
    first, answer = mean(paid, shared=shared)
    assert first == pytest.approx(0.4, abs=0.12) and answer > 0.65


def test_a_better_repair_of_a_shared_call_is_paid_beyond_its_similarity() -> None:
    gained = paid(0.3, 0.7, shared=True) - paid(0.3, 0.5, shared=True)
    assert gained > paid(0.3, 0.7, shared=False) - paid(0.3, 0.5, shared=False) == pytest.approx(0.8 * 0.2)
