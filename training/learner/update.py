"""One batch of groups in, one optimiser step (or `learner.updates` of them) and a panel of figures out.

Guarantees: the gradient is that of the whole batch, whatever the micro-batches and ranks; a step whose gradient is not
finite changes nothing and is counted, `learner.max_skipped_steps` in a row raise `Diverged`; with `grpo.kl_beta=0` no
reference model exists; every rank ends a step with the same weights.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actors.families.tokens import banned_ids, placeholder
from actors.rollout.reward import weights
from actors.trajectory import Group
from configs.schema import Config
from training.learner import grpo, lora
from training.learner.image_inputs import Pixels, WholePictures
from training.learner.model import DTYPES, Policy, load_policy
from training.learner.packing import Bundle, Limits, Row, Screened, build, pack, screen, weigh
from training.learner.ranks import Ranks, distribute

SUMS = (
    "tokens", "clip_low", "clip_high", "corrected", "kl", "w", "w2", "sw", "sw2", "sequences", "entropy", "k3",
    "k3_same", "same", "loss",
)  # fmt: skip


class Diverged(RuntimeError):
    """Too many steps in a row had a gradient that is not finite."""


@dataclass(frozen=True)
class Shard:
    """One rank's work of one batch: [update][micro-batch] -> bundles, and the pictures they show."""

    updates: tuple[tuple[list[Bundle], ...], ...]
    images: dict[str, bytes]


class Learner:
    """Model, optimiser and schedule of one rank. `base`: the first weights of the run (for LoRA and the KL term)."""

    def __init__(self, model: str, config: Config, ranks: Ranks, base: str | None = None) -> None:
        from transformers import AutoProcessor

        base = base or model
        processor = AutoProcessor.from_pretrained(model)
        banned = banned_ids(processor.tokenizer)
        self.config, self.ranks = config, ranks
        self.dtype = DTYPES[config.policy.dtype]
        self.policy = self._load(base if config.learner.lora_rank else model, banned)
        self.reference = None
        if config.grpo.kl_beta and not config.learner.lora_rank:
            self.reference = self._load(base, banned).requires_grad_(False)
        self.tokenizer = processor.tokenizer
        image_token = processor.tokenizer.convert_tokens_to_ids(placeholder(processor))
        whole = self.policy.adapter is None
        self.pixels: Pixels | WholePictures = (
            WholePictures(processor, image_token) if whole else Pixels(processor.image_processor)
        )
        vocabulary = self.policy.hf.config.get_text_config().vocab_size
        most = config.sampling.max_trajectory_tokens
        self.limits = Limits(vocabulary, most, image_token, frozenset(banned))
        self.optimizer = _optimizer(self.policy, config)
        self.part_weights = weights(config.reward)
        self.skipped = 0
        self._skipped_in_a_row = 0

    def _load(self, path: str, banned: Sequence[int]) -> Policy:
        policy = distribute(load_policy(path, self.config, banned), self.ranks, self.dtype)
        assert isinstance(policy, Policy)
        return policy

    def plan(self, groups: Sequence[Group]) -> tuple[list[Shard], Screened]:
        """Screen, weigh and pack a batch (rank 0): a shard for each rank. Raises BadBatch."""
        settings, ranks = self.config.grpo, self.ranks.size
        screened = screen(groups, self.limits, self.pixels, settings, self.part_weights)
        updates = []
        for rows in _cut(screened.rows, self.config.learner.updates):
            weighed = weigh(rows, settings)
            budget, shared = self.config.learner.token_budget, self.pixels.packed
            updates.append(pack(weighed, budget, ranks, self.limits.image_token, shared=shared))
        shards = []
        for rank in range(ranks):
            mine = tuple(tuple(update[rank]) for update in updates)
            names = {n for u in mine for b in u for bundle in b for row in bundle for n in row.images}
            shards.append(Shard(mine, {name: screened.images[name] for name in names}))
        return shards, screened

    def train(self, shard: Shard, step: int, version: int) -> dict[str, float | None]:
        """Train on this rank's shard of the batch of `step` (0-based), whose newest weights are `version`.

        Returns the panel, the same on every rank: loss, grad_norm, lr, entropy, ess, clip fractions, k3 figures.
        """
        totals = torch.zeros(len(SUMS), dtype=torch.float64)
        norms, gap, skipped = [], 0.0, 0
        proximal = self._proximal(shard)
        for number, micro_batches in enumerate(shard.updates):
            self.optimizer.zero_grad(set_to_none=True)
            mine = torch.zeros_like(totals)
            for place, bundles in enumerate(micro_batches):
                sums, largest = self._backward(bundles, shard.images, version, proximal.get((number, place)))
                mine += sums
                gap = max(gap, largest)
            totals += mine
            norm = self._step(step + number / len(shard.updates), self._trust(mine))
            norms.append(norm)
            skipped += not math.isfinite(norm)
        over_ranks = dict(zip(SUMS, self.ranks.total(totals).tolist(), strict=True))
        return _panel(over_ranks, norms, self.ranks.largest(gap)) | {
            "lr": self.optimizer.param_groups[0]["lr"],
            "skipped": float(skipped),
        }

    def logprobs(self, row: Row, images: Mapping[str, bytes]) -> Tensor:
        """Log-probabilities of one trajectory's sampled tokens, on the host; every rank must ask, with the same row."""
        with torch.no_grad():
            return self._forward(self.policy, [(row,)], images)[1].float().cpu()

    def _autocast(self) -> AbstractContextManager[Any]:
        """bfloat16 arithmetic over float32 weights; FSDP does it by itself."""
        if self.dtype == torch.float32 or self.ranks.size > 1:
            return nullcontext()
        return torch.autocast(self.ranks.device.type, self.dtype)

    def _forward(self, policy: Policy, bundles: Sequence[Bundle], images: Mapping[str, bytes]) -> tuple[Any, ...]:
        batch = build(bundles, self.limits.image_token, self.pixels).to(self.ranks.device)
        patches, grids = torch.empty(0), torch.empty(0, 3, dtype=torch.int64)
        inputs: list[dict[str, Tensor]] = []
        if isinstance(self.pixels, WholePictures):
            made = [self.pixels.inputs(row.ids, [images[n] for n in row.images]) for row in batch.rows]
            inputs = [{k: v.to(self.ranks.device) for k, v in row.items()} for row in made]
        elif batch.images:
            patches, grids = self.pixels.patches(batch.images, images)
        with self._autocast():
            logp, entropy = policy(batch, patches.to(self.ranks.device), grids.to(self.ranks.device), inputs)
        return batch, logp, entropy

    def _proximal(self, shard: Shard) -> dict[tuple[int, int], Tensor]:
        """Log-probabilities before the first of several updates, where the ratio is taken against them."""
        if self.config.grpo.proximal == "behaviour" or len(shard.updates) == 1:
            return {}
        with torch.no_grad():
            return {
                (number, place): self._forward(self.policy, bundles, shard.images)[1]
                for number, micro_batches in enumerate(shard.updates)
                for place, bundles in enumerate(micro_batches)
            }

    def _reference(self, bundles: Sequence[Bundle], images: Mapping[str, bytes]) -> Tensor | None:
        if not self.config.grpo.kl_beta:
            return None
        with torch.no_grad():
            if self.reference is not None:
                return self._forward(self.reference, bundles, images)[1]
            with lora.disabled(self.policy):
                return self._forward(self.policy, bundles, images)[1]

    def _backward(
        self, bundles: Sequence[Bundle], images: Mapping[str, bytes], version: int, proximal: Tensor | None
    ) -> tuple[Tensor, float]:
        """Accumulate one micro-batch's gradient; sums for the panel and the largest |learner - engine| at `version`."""
        reference = self._reference(bundles, images)
        batch, logp, entropy = self._forward(self.policy, bundles, images)
        tokens = grpo.Tokens(batch.sequence, batch.advantage, batch.weight, batch.behaviour, proximal, reference)
        loss, found = grpo.loss(logp, tokens, self.config.grpo)
        (loss * self.ranks.size).backward()  # FSDP averages over ranks
        with torch.no_grad():
            live = batch.weight > 0
            ratio = (logp - batch.behaviour)[live]
            # A turn that was under way when the weights changed goes on over the old weights' keys and values: only
            # turns begun with these weights show how far engine and learner are apart.
            same = (batch.opened == version)[live]
            found |= {
                "loss": loss.detach(),
                "entropy": entropy[live].sum(),
                "k3": grpo.k3(ratio).sum(),
                "k3_same": grpo.k3(ratio[same]).sum(),
                "same": same.sum(),
            }
            largest = float(ratio[same].abs().max()) if bool(same.any()) else 0.0
        return torch.tensor([float(found.get(name, 0.0)) for name in SUMS], dtype=torch.float64), largest

    def _trust(self, sums: Tensor) -> float:
        """Factor of the learning rate: the root of the share of an update's trajectories that is left after importance
        weights, (sum w)^2 / (S sum w^2) (VCPO, arXiv 2602.17616; the root as AdamW's steps are normalised). 1 where
        `learner.ess_lr` is off."""
        if not self.config.learner.ess_lr:
            return 1.0
        found = dict(zip(SUMS, self.ranks.total(sums).tolist(), strict=True))
        return math.sqrt(share) if (share := _ess(found)) is not None else 1.0

    def _step(self, progress: float, trust: float = 1.0) -> float:
        """Clip, set the learning rate, step; the gradient's norm before clipping. Skips what is not finite."""
        config = self.config.learner
        params = [p for p in self.policy.parameters() if p.requires_grad]
        total = torch.nn.utils.clip_grad_norm_(params, config.grad_clip)
        norm = float(total.full_tensor() if hasattr(total, "full_tensor") else total)
        for group in self.optimizer.param_groups:
            factor = schedule(progress, self.config.run.steps, config.warmup_steps, config.schedule)
            group["lr"] = config.lr * factor * trust
        if math.isfinite(norm):
            self.optimizer.step()
            self._skipped_in_a_row = 0
            return norm
        self.skipped += 1
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= config.max_skipped_steps:
            raise Diverged(
                f"{self._skipped_in_a_row} gradients in a row were not finite (learner.max_skipped_steps); "
                f"lower learner.lr={config.lr:g} and resume from the last checkpoint"
            )
        return norm


def _optimizer(policy: Policy, config: Config) -> torch.optim.Optimizer:
    """Fused AdamW over what is trained; weight decay on matrices alone."""
    trained = [p for p in policy.parameters() if p.requires_grad]
    kinds = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.learner.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    first, second = config.learner.betas
    return torch.optim.AdamW(
        [kind for kind in kinds if kind["params"]], lr=config.learner.lr, betas=(first, second), fused=True
    )


def schedule(progress: float, steps: int, warmup: int, kind: str) -> float:
    """Factor of the learning rate at step `progress` (0-based) of `steps`: linear warm-up, then `kind`."""
    if progress < warmup:
        return (progress + 1) / (warmup + 1)
    left = max(0.0, (steps - progress) / max(1, steps - warmup))
    if kind == "linear":
        return left
    if kind == "cosine":
        return 0.5 * (1 - math.cos(math.pi * left))
    return 1.0


def _cut(rows: Sequence[Row], parts: int) -> list[Sequence[Row]]:
    """Rows of whole groups in `parts` runs of about equally many groups."""
    names = sorted({row.group for row in rows})
    parts = min(parts, len(names))
    chosen = [set(names[i::parts]) for i in range(parts)]
    return [[row for row in rows if row.group in part] for part in chosen]


def _ess(sums: Mapping[str, float]) -> float | None:
    """Effective sample size over trajectories as a share of their number."""
    return sums["sw"] ** 2 / (sums["sequences"] * sums["sw2"]) if sums["sw2"] else None


def _panel(sums: Mapping[str, float], norms: Sequence[float], gap: float) -> dict[str, float | None]:
    tokens, same = max(1.0, sums["tokens"]), sums["same"]
    return {
        "loss": sums["loss"],
        "grad_norm": sum(norms) / len(norms),
        "entropy": sums["entropy"] / tokens,
        "kl": sums["kl"] / tokens,
        "ess": sums["w"] ** 2 / (tokens * sums["w2"]) if sums["w2"] else None,
        "ess_trajectories": _ess(sums),
        "clip_low": sums["clip_low"] / tokens,
        "clip_high": sums["clip_high"] / tokens,
        "corrected": sums["corrected"] / tokens,
        "mismatch_k3": sums["k3_same"] / same if same else None,  # turns sampled by the very weights that are trained
        "mismatch_max": gap if same else None,
        "behaviour_k3": sums["k3"] / tokens,  # all tokens: mismatch and staleness
        "same_version": same / tokens,
        "sampled_tokens": sums["tokens"],
    }
