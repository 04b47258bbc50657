"""GRPO as pure tensor functions: advantages, surrogate losses, corrections, and how tokens add up to one number.

Guarantees: no function keeps state or looks at anything but its arguments; a token's share of the loss
(`token_weights`) is fixed for the whole batch before the first forward pass, so a loss summed over any split of the
batch into micro-batches and ranks has exactly the full batch's gradient. Shapes: N sampled tokens of S trajectories.

With pi the learner, mu the behaviour policy (the engine, token by token) and p the proximal policy, a token's loss is

    -w * surrogate(rho, A) + beta * k3(pi_ref || pi),   rho = pi / p,   w = correction(p / mu)

`grpo.proximal=behaviour` takes p = mu (then w = 1): GRPO (DeepSeekMath, arXiv 2402.03300) on asynchronous data.
`grpo.proximal=learner` takes p = the learner before this batch: decoupled PPO (arXiv 2110.00641, 2505.24298), where w
corrects engine mismatch and staleness, truncated or masked as in arXiv 2410.18252 and IcePop. The KL term is weighted
by pi / mu, truncated: its tokens are samples of mu, and without the weight neither its value nor its gradient is that
of KL(pi || pi_ref).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from configs.schema import Grpo

STD_EPS = 1e-4
LOG_LIMIT = 20.0  # exp() of a log-ratio beyond this would overflow a sum; no clip range reaches it


def advantages(rewards: Tensor, kind: str) -> Tensor:
    """Advantages (G,) of one prompt's rewards (G,).

    std: (r - mean) / (std + 1e-4), the paper's Eq. 4, std with G - 1. mean: r - mean (Dr. GRPO, arXiv 2503.20783).
    loo: r - mean of the others (RLOO, arXiv 2402.14740) = mean * G / (G - 1). Equal rewards give exact zeros.
    """
    if bool((rewards == rewards[0]).all()):
        return torch.zeros_like(rewards)
    centred = rewards - rewards.mean()
    if kind == "std":
        return centred / (rewards.std() + STD_EPS)
    if kind == "mean":
        return centred
    if kind == "loo":
        return centred * (len(rewards) / (len(rewards) - 1))
    raise ValueError(f"grpo.advantage={kind}: std, mean or loo")


def advantages_by_part(parts: Tensor, weights: Tensor, kind: str) -> Tensor:
    """Advantages (G,) of one prompt whose rewards have K parts (G, K), each normalised in the group before it is
    weighted by `weights` (K,): GDPO (arXiv 2601.05242). nan marks a member that a part does not compare and so
    gives nothing.

    Without this the part of the largest variance decides alone (here: whether a program runs). `rescale` is the last
    step, over the whole batch.
    """
    total = torch.zeros(len(parts), dtype=parts.dtype)
    for part, weight in zip(parts.unbind(1), weights, strict=True):
        known = ~part.isnan()
        if int(known.sum()) > 1:
            total[known] += weight * advantages(part[known], kind)
    return total


def rescale(values: Tensor) -> Tensor:
    """The advantages of a whole batch (S,) with mean 0 and standard deviation 1, so that the size of a step does not
    depend on how many parts a reward has (GDPO, section 3). Equal values give exact zeros."""
    if len(values) < 2 or bool((values == values[0]).all()):
        return torch.zeros_like(values)
    return (values - values.mean()) / (values.std() + STD_EPS)


def token_weights(lengths: Tensor, kind: str, constant: int) -> Tensor:
    """What one sampled token of each trajectory counts in the loss, (S,) for sampled lengths (S,) of the WHOLE batch.

    sequence: 1 / (S * length), GRPO. token: 1 / all tokens, DAPO (arXiv 2503.14476). constant: 1 / (S * constant),
    Dr. GRPO; with constant 1 the sum over a trajectory counts (LUSPO).
    """
    count = len(lengths)
    if kind == "sequence":
        return 1.0 / (count * lengths.to(torch.float64))
    if kind == "token":
        return torch.full((count,), 1.0 / float(lengths.sum()), dtype=torch.float64)
    if kind == "constant":
        return torch.full((count,), 1.0 / (count * constant), dtype=torch.float64)
    raise ValueError(f"grpo.aggregate={kind}: sequence, token or constant")


@dataclass(frozen=True)
class Tokens:
    """What is known of N sampled tokens besides the learner's log-probabilities; all (N,) but where noted.

    `sequence` numbers the trajectories of this micro-batch 0..S-1; `proximal` None: the learner itself, now.
    """

    sequence: Tensor
    advantage: Tensor
    weight: Tensor  # of `token_weights`; 0 marks filling, which counts nowhere
    behaviour: Tensor
    proximal: Tensor | None = None
    reference: Tensor | None = None


def loss(logp: Tensor, tokens: Tokens, settings: Grpo) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted loss of a micro-batch (scalar; sums over micro-batches) and sums for the panel.

    `logp` (N,) float32 requires grad. The panel's sums are over live tokens: `tokens`, `clip_low`, `clip_high`, `kl`,
    `w`, `w2` (untruncated p / mu or, with p = mu, pi / mu: effective sample size = w^2 / (tokens * w2)), `corrected`;
    `sw`, `sw2` are the same over the `sequences`, each with the product of its tokens' ratios.
    """
    live = (tokens.weight > 0).to(logp.dtype)
    behaviour = settings.proximal == "behaviour"
    proximal = tokens.behaviour if behaviour else (logp.detach() if tokens.proximal is None else tokens.proximal)
    log_rho = logp - proximal
    if settings.ratio == "sequence":
        log_rho = _sequence_mean(log_rho, tokens.sequence, live)
    mismatch = (logp.detach() if behaviour else proximal) - tokens.behaviour
    correction = torch.ones_like(logp) if behaviour else importance(mismatch, tokens.sequence, live, settings)
    rho = log_rho.clamp(-LOG_LIMIT, LOG_LIMIT).exp()
    if settings.surrogate == "vespo":
        per_token = -vespo_weight(log_rho, correction, tokens, live) * tokens.advantage * logp
    else:
        per_token = -correction * surrogate(rho, logp, tokens.advantage, settings)
    sums = _panel(rho.detach(), mismatch, correction, tokens, live, settings)
    if settings.kl_beta and tokens.reference is not None:
        kl = k3(tokens.reference - logp)
        if settings.surrogate != "likelihood":  # given tokens are samples of nobody
            kl = (logp - tokens.behaviour).clamp(-LOG_LIMIT, LOG_LIMIT).exp().clamp(max=settings.importance_cap) * kl
        per_token = per_token + settings.kl_beta * kl
        sums["kl"] = (kl.detach() * live).sum()
    return (per_token * tokens.weight.to(logp.dtype)).sum(), sums


def surrogate(rho: Tensor, logp: Tensor, advantage: Tensor, settings: Grpo) -> Tensor:
    """What is to be maximised for each token, (N,), at ratios `rho` (N,).

    clip: PPO's pessimistic minimum with separate bounds (clip-higher of DAPO). cispo: the ratio is a clipped constant
    in front of logp (MiniMax-M1, arXiv 2506.13585). sapo: a sigmoid gate instead of the clip (arXiv 2511.20347),
    temperatures 1 for positive and 1.05 for negative advantages. dppo: no clip, but a token whose *probability* has
    moved by more than `eps_probability` the way its advantage pushes has no gradient (binary total variation, arXiv
    2602.04879): a ratio says little of a rare token and hides much of a likely one. likelihood: logp itself, whatever
    the advantage: supervised learning on given tokens (training/jobs/sft.py).
    """
    if settings.surrogate == "likelihood":
        return logp
    if settings.surrogate == "clip":
        clipped = rho.clamp(1 - settings.eps_low, 1 + settings.eps_high)
        return torch.minimum(rho * advantage, clipped * advantage)
    if settings.surrogate == "dppo":
        moved = (logp.exp() * (1 - 1 / rho)).detach()
        return torch.where(moved * advantage.sign() > settings.eps_probability, 0.0, rho * advantage)
    if settings.surrogate == "cispo":
        return rho.clamp(max=1 + settings.eps_high).detach() * advantage * logp
    if settings.surrogate == "sapo":
        temperature = torch.where(advantage > 0, 1.0, 1.05)
        return torch.sigmoid(temperature * (rho - 1)) * 4 / temperature * advantage
    raise ValueError(f"grpo.surrogate={settings.surrogate}: clip, dppo, cispo, sapo, vespo or likelihood")


def vespo_weight(log_rho: Tensor, correction: Tensor, tokens: Tokens, live: Tensor) -> Tensor:
    """Gradient weight of each token (N,): e^l * w^k * e^(-l*w) of the trajectory's whole ratio w (VESPO, arXiv
    2602.10693) with (k, l) = (2, 3) for advantages >= 0 and (3, 2) below; 1 at w = 1."""
    floor = -18.42068074395237  # log 1e-8
    log_ratio = log_rho.detach().clamp(-LOG_LIMIT, LOG_LIMIT) * live
    log_ratio = log_ratio + correction.log().clamp(floor, LOG_LIMIT) * live
    log_w = _sequence_sum(log_ratio, tokens.sequence).clamp(floor, LOG_LIMIT)
    good = tokens.advantage >= 0
    k, rate = torch.where(good, 2.0, 3.0), torch.where(good, 3.0, 2.0)
    return (rate + k * log_w - rate * log_w.exp()).exp()


def importance(log_ratio: Tensor, sequence: Tensor, live: Tensor, settings: Grpo) -> Tensor:
    """Constant weights (N,) that correct tokens sampled by another policy, from log(p / mu) (N,).

    truncate: min(p / mu, cap). mask: p / mu where it lies in [1 / cap, cap], else 0. sequence: the product over the
    token's whole trajectory, truncated at cap (VCPO, arXiv 2602.17616, with a cap of 8). off: 1.
    """
    log_ratio = log_ratio.detach()
    if settings.importance == "sequence":
        log_ratio = _sequence_sum(log_ratio * live, sequence)
    ratio = log_ratio.clamp(-LOG_LIMIT, LOG_LIMIT).exp()
    cap = settings.importance_cap
    if settings.importance in ("truncate", "sequence"):
        return ratio.clamp(max=cap)
    if settings.importance == "mask":
        return torch.where((ratio <= cap) & (ratio >= 1 / cap), ratio, 0.0)
    if settings.importance == "off":
        return torch.ones_like(ratio)
    raise ValueError(f"grpo.importance={settings.importance}: truncate, mask, sequence or off")


def k3(log_ratio: Tensor) -> Tensor:
    """Schulman's k3 = e^x - 1 - x of x = log(q / p), >= 0: unbiased for KL(p || q) on samples of p, in nats."""
    return log_ratio.clamp(max=LOG_LIMIT).expm1() - log_ratio


def _sequence_sum(values: Tensor, sequence: Tensor) -> Tensor:
    total = values.new_zeros(int(sequence.max()) + 1).index_add(0, sequence, values)
    return total[sequence]


def _sequence_mean(values: Tensor, sequence: Tensor, live: Tensor) -> Tensor:
    """Every token gets its trajectory's mean: GSPO's length-normalised ratio (arXiv 2507.18071)."""
    return _sequence_sum(values * live, sequence) / _sequence_sum(live, sequence).clamp(min=1.0)


def _panel(
    rho: Tensor, mismatch: Tensor, correction: Tensor, tokens: Tokens, live: Tensor, settings: Grpo
) -> dict[str, Tensor]:
    advantage, w = tokens.advantage, mismatch.clamp(-LOG_LIMIT, LOG_LIMIT).exp()
    empty = mismatch.new_zeros(int(tokens.sequence.max()) + 1)
    sampled = empty.index_add(0, tokens.sequence, live) > 0
    whole = empty.index_add(0, tokens.sequence, mismatch * live)[sampled].clamp(-LOG_LIMIT, LOG_LIMIT).exp()
    return {
        "tokens": live.sum(),
        "clip_low": ((rho < 1 - settings.eps_low) & (advantage < 0)).to(live.dtype).mul(live).sum(),
        "clip_high": ((rho > 1 + settings.eps_high) & (advantage > 0)).to(live.dtype).mul(live).sum(),
        "corrected": (correction != w).to(live.dtype).mul(live).sum()
        if settings.proximal == "learner"
        else live.new_zeros(()),
        "w": (w * live).sum(),
        "w2": (w * w * live).sum(),
        "sw": whole.sum(),
        "sw2": (whole * whole).sum(),
        "sequences": sampled.sum(),
    }
