"""Every option of the loss against numbers worked out by hand."""

import math

import numpy as np
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


def test_parts_are_normalised_before_they_are_weighted() -> None:
    """By another way: TRL's `normalize_then_sum`, written out (nan: not compared, adds nothing)."""
    nan = float("nan")
    parts = torch.tensor([[0.9, 1, 0], [0.5, 1, 1], [0.7, 1, 0], [nan, -1, 0], [nan, -1, 1]], dtype=torch.float64)
    weights = torch.tensor([0.8, 0.2, 1.0], dtype=torch.float64)
    array, expected = parts.numpy(), np.zeros(5)
    for k, weight in enumerate((0.8, 0.2, 1.0)):
        mean, std = np.nanmean(array[:, k]), np.nanstd(array[:, k], ddof=1)
        expected += weight * np.nan_to_num((array[:, k] - mean) / (std + 1e-4))
    assert grpo.advantages_by_part(parts, weights, "std").tolist() == pytest.approx(expected.tolist())
    assert grpo.rescale(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1], rel=1e-3)
    assert grpo.rescale(torch.full((4,), 0.3)).tolist() == [0.0] * 4


def test_a_part_with_one_member_to_compare_says_nothing() -> None:
    parts = torch.tensor([[0.9], [float("nan")]])
    assert grpo.advantages_by_part(parts, torch.tensor([0.8]), "std").tolist() == [0.0, 0.0]


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


def test_dppo_masks_by_the_change_of_probability_and_not_by_the_ratio() -> None:
    settings = Grpo(surrogate="dppo", eps_probability=0.2)
    old = [LOG(0.001), LOG(0.5), LOG(0.5), LOG(0.9), LOG(0.9)]
    new = [LOG(0.005), LOG(0.75), LOG(0.75), LOG(0.65), LOG(0.65)]
    total, gradient = one(new, [1.0, 1.0, -1.0, -1.0, 1.0], settings, behaviour=old)
    # a ratio of 5 on a rare token is kept; .25 up with a gain, or down with a loss, is masked; the other way is not
    assert gradient == pytest.approx([-5.0, 0.0, 1.5, 0.0, -0.65 / 0.9])
    assert total == pytest.approx(-5.0 + 1.5 - 0.65 / 0.9)


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
    alone, live = torch.arange(3), torch.ones(3)
    assert grpo.importance(ratio.log(), alone, live, settings).tolist() == pytest.approx(expected)


def test_a_trajectory_is_weighed_and_truncated_as_a_whole() -> None:
    settings = Grpo(importance="sequence", importance_cap=8.0)
    ratio, sequence, live = torch.tensor([4.0, 0.5, 3.0, 5.0]), torch.tensor([0, 0, 1, 1]), torch.ones(4)
    assert grpo.importance(ratio.log(), sequence, live, settings).tolist() == pytest.approx([2.0, 2.0, 8.0, 8.0])
    live[3] = 0.0  # filling counts nowhere
    assert grpo.importance(ratio.log(), sequence, live, settings).tolist() == pytest.approx([2.0, 2.0, 3.0, 3.0])


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
    # the token is a sample of its own policy: the ratio is 1, and its gradient counts as well
    assert gradient == pytest.approx([0.5 * (1.5 - 1 - LOG(1.5) + 1 - 1.5)])
    assert float(grpo.k3(torch.tensor(0.0))) == 0.0


def test_the_kl_term_is_that_of_the_learner_though_another_policy_sampled() -> None:
    """Its expectation over samples of mu is KL(pi || ref), and its gradient that of KL(pi || ref)."""
    logits = torch.tensor([0.3, -0.2, 0.9, 0.0], dtype=torch.float64, requires_grad=True)
    mu = torch.tensor([0.4, 0.3, 0.1, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    logp = logits.log_softmax(0)
    exact = (logp.exp() * (logp - reference.log())).sum()
    [wanted] = torch.autograd.grad(exact, logits, retain_graph=True)
    tokens = grpo.Tokens(torch.arange(4), torch.zeros(4), mu, mu.log(), reference=reference.log())
    total, _ = grpo.loss(logp, tokens, Grpo(kl_beta=1.0, importance_cap=100.0))
    [found] = torch.autograd.grad(total, logits)
    assert float(total.detach()) == pytest.approx(float(exact.detach()))
    assert found.tolist() == pytest.approx(wanted.tolist())


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
    assert (float(sums["sequences"]), float(sums["sw"]), float(sums["sw2"])) == (
        1,
        pytest.approx(2.25),
        pytest.approx(2.25**2),
    )


@pytest.mark.parametrize(
    "wrong", [Grpo(surrogate="x"), Grpo(proximal="learner", importance="x"), Grpo(aggregate="x"), Grpo(advantage="x")]
)
def test_unknown_options_are_named(wrong: Grpo) -> None:
    with pytest.raises(ValueError, match="grpo\\."):
        one([0.0], [1.0], wrong)
        grpo.token_weights(torch.tensor([1]), wrong.aggregate, 1)
        grpo.advantages(torch.tensor([0.0, 1.0]), wrong.advantage)
