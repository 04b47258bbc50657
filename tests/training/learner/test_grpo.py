"""Every option of the loss against numbers worked out by hand."""

import math

import pytest
import torch

from configs.schema import Grpo
from training.learner import grpo

LOG = math.log


def one(logp: list[float], advantage: list[float], settings: Grpo, **known: list[float]) -> tuple[float, list[float]]:
    """Loss and gradient of tokens of one trajectory each of weight 1."""
    held = torch.tensor(logp, dtype=torch.float64, requires_grad=True)
    sequence = torch.tensor(known.pop("sequence", list(range(len(logp)))))
    known = {"advantage": advantage, "weight": [1.0] * len(logp), "behaviour": logp} | known
    doubles = {key: torch.tensor(value, dtype=torch.float64) for key, value in known.items()}
    tokens = grpo.Tokens(sequence, **doubles)
    total, _ = grpo.loss(held, tokens, settings)
    total.backward()
    assert held.grad is not None
    return float(total.detach()), held.grad.tolist()


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    std = math.sqrt((4 + 1 + 0 + 9) / 3)
    centred = [-2.0, -1.0, 0.0, 3.0]
    assert grpo.advantages(rewards, "std").tolist() == pytest.approx([c / (std + 1e-4) for c in centred])
    assert grpo.advantages(rewards, "mean").tolist() == pytest.approx(centred)
    others = [(2 + 3 + 6) / 3, (1 + 3 + 6) / 3, (1 + 2 + 6) / 3, 2.0]
    assert grpo.advantages(rewards, "loo").tolist() == pytest.approx(
        [r - o for r, o in zip(rewards.tolist(), others, strict=True)]
    )


@pytest.mark.parametrize("kind", ["std", "mean", "loo"])
def test_equal_rewards_teach_nothing(kind: str) -> None:
    assert grpo.advantages(torch.full((5,), 0.1), kind).tolist() == [0.0] * 5


def test_token_weights_by_hand() -> None:
    lengths = torch.tensor([2, 8])
    assert grpo.token_weights(lengths, "sequence", 0).tolist() == [1 / 4, 1 / 16]
    assert grpo.token_weights(lengths, "token", 0).tolist() == [1 / 10, 1 / 10]
    assert grpo.token_weights(lengths, "constant", 16).tolist() == [1 / 32, 1 / 32]


def test_clip_keeps_the_pessimistic_side() -> None:
    settings = Grpo(eps_low=0.2, eps_high=0.3)
    # ratios 1.5 and 0.5 on either sign; the clipped sides have no gradient
    old, new = LOG(0.2), [LOG(0.3), LOG(0.3), LOG(0.1), LOG(0.1)]
    total, gradient = one(new, [1.0, -1.0, 1.0, -1.0], settings, behaviour=[old] * 4)
    assert total == pytest.approx(-(1.3 - 1.5 + 0.5 - 0.8))
    assert gradient == pytest.approx([0.0, 1.5, -0.5, 0.0])


def test_cispo_clips_the_weight_and_keeps_the_gradient() -> None:
    settings = Grpo(surrogate="cispo", eps_high=0.3)
    total, gradient = one([LOG(0.3)], [2.0], settings, behaviour=[LOG(0.2)])
    assert total == pytest.approx(-1.3 * 2 * LOG(0.3))
    assert gradient == pytest.approx([-2.6])


def test_sapo_gates_softly() -> None:
    settings = Grpo(surrogate="sapo")
    total, gradient = one([LOG(0.3), LOG(0.3)], [1.0, -1.0], settings, behaviour=[LOG(0.2)] * 2)
    gate = [1 / (1 + math.exp(-t * 0.5)) for t in (1.0, 1.05)]
    assert total == pytest.approx(-(4 * gate[0] - 4 / 1.05 * gate[1]))
    assert gradient == pytest.approx([-4 * gate[0] * (1 - gate[0]) * 1.5, 4 * gate[1] * (1 - gate[1]) * 1.5])


def test_vespo_weighs_the_whole_trajectory() -> None:
    settings = Grpo(surrogate="vespo")
    old, new = [LOG(0.2), LOG(0.5)], [LOG(0.3), LOG(0.4)]
    w = 1.5 * 0.8
    _, gradient = one(new, [2.0, 2.0], settings, behaviour=old, sequence=[0, 0])
    assert gradient == pytest.approx([-2 * math.exp(3) * w**2 * math.exp(-3 * w)] * 2)
    _, gradient = one(new, [-1.0, -1.0], settings, behaviour=old, sequence=[0, 0])
    assert gradient == pytest.approx([math.exp(2) * w**3 * math.exp(-2 * w)] * 2)


def test_sequence_ratio_is_the_geometric_mean_of_a_trajectory() -> None:
    settings = Grpo(ratio="sequence", eps_low=0.5, eps_high=0.5)
    old, new = [LOG(0.2), LOG(0.5), LOG(0.5)], [LOG(0.4), LOG(0.4), LOG(0.5)]
    ratio = math.sqrt(2 * 0.8)
    total, gradient = one(new, [1.0, 1.0, 1.0], settings, behaviour=old, sequence=[0, 0, 1])
    assert total == pytest.approx(-(2 * ratio + 1))
    assert gradient == pytest.approx([-ratio, -ratio, -1.0])


@pytest.mark.parametrize(
    ("kind", "expected"), [("truncate", [2.0, 1.5, 0.4]), ("mask", [0.0, 1.5, 0.0]), ("off", [1.0, 1.0, 1.0])]
)
def test_importance_weights(kind: str, expected: list[float]) -> None:
    settings = Grpo(importance=kind, importance_cap=2.0)
    ratio = torch.tensor([4.0, 1.5, 0.4])
    assert grpo.importance(ratio.log(), settings).tolist() == pytest.approx(expected)


def test_decoupled_ppo_takes_the_ratio_against_the_proximal_policy_and_corrects_for_the_engine() -> None:
    settings = Grpo(proximal="learner", eps_low=0.2, eps_high=0.2, importance="truncate", importance_cap=2.0)
    total, gradient = one([LOG(0.33)], [1.0], settings, proximal=[LOG(0.3)], behaviour=[LOG(0.1)])
    assert total == pytest.approx(-2.0 * 1.1)  # p / mu = 3, truncated to 2; pi / p = 1.1, not clipped
    assert gradient == pytest.approx([-2.2])
    total, gradient = one([LOG(0.3)], [1.0], settings, behaviour=[LOG(0.2)])  # the learner itself is proximal
    assert (total, gradient) == (pytest.approx(-1.5), pytest.approx([-1.5]))


def test_behaviour_as_proximal_needs_no_correction() -> None:
    total, gradient = one([LOG(0.22)], [1.0], Grpo(proximal="behaviour"), behaviour=[LOG(0.2)])
    assert (total, gradient) == (pytest.approx(-1.1), pytest.approx([-1.1]))


def test_k3_against_the_reference() -> None:
    settings = Grpo(kl_beta=0.5)
    total, gradient = one([LOG(0.2)], [0.0], settings, reference=[LOG(0.3)])
    assert total == pytest.approx(0.5 * (1.5 - 1 - LOG(1.5)))
    assert gradient == pytest.approx([0.5 * (1 - 1.5)])
    assert float(grpo.k3(torch.tensor(0.0))) == 0.0


def test_weights_carry_the_aggregation_and_zero_counts_nowhere() -> None:
    held = torch.tensor([LOG(0.3)] * 3, requires_grad=True)
    old = torch.tensor([LOG(0.2)] * 3)
    tokens = grpo.Tokens(torch.tensor([0, 0, 1]), torch.ones(3), torch.tensor([0.5, 0.25, 0.0]), old)
    total, sums = grpo.loss(held, tokens, Grpo())
    assert float(total.detach()) == pytest.approx(-1.2 * 0.75)
    assert float(sums["tokens"]) == 2
    assert float(sums["clip_high"]) == 2
    assert float(sums["w"]) == pytest.approx(3.0)
    assert float(sums["w2"]) == pytest.approx(4.5)


@pytest.mark.parametrize(
    "wrong", [Grpo(surrogate="x"), Grpo(proximal="learner", importance="x"), Grpo(aggregate="x"), Grpo(advantage="x")]
)
def test_unknown_options_are_named(wrong: Grpo) -> None:
    with pytest.raises(ValueError, match="grpo\\."):
        one([0.0], [1.0], wrong)
        grpo.token_weights(torch.tensor([1]), wrong.aggregate, 1)
        grpo.advantages(torch.tensor([0.0, 1.0]), wrong.advantage)
