"""Checks of numbers on one device: kernels, precision, packing, resume, memory savings, adapters.

Guarantees: every check compares the device with float32 on the CPU or with itself done another way, and says by how
much they differ; `holds` is false where that is more than the number format explains.
"""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.schema import Config
from tests.training import tiny
from training.learner import attention
from training.learner.attention import Layout, Segment
from training.learner.ranks import Ranks
from training.learner.update import Learner, Shard
from training.run import checkpoint

CPU = torch.device("cpu")


def policy(folder: Path) -> str:
    """A small Qwen2.5-VL with random weights, on disk."""
    path = folder / "policy"
    return str(path if path.is_dir() else tiny.build_model(path))


def learner(folder: Path, device: torch.device, **options: Any) -> Learner:
    """Without learning rate, clipping of the gradient or a clipped surrogate, so that gradients can be compared."""
    config = Config()
    config.learner.lr, config.learner.grad_clip, config.learner.warmup_steps = 0.0, math.inf, 0
    config.grpo.surrogate = "sapo"
    for name, value in options.items():
        section, key = name.split("__")
        setattr(getattr(config, section), key, value)
    return Learner(policy(folder), config, Ranks(0, 1, device))


def step(made: Learner, number: int = 0) -> tuple[float, Tensor]:
    """Loss and flat gradient of one step on made-up groups with pictures."""
    shards, _ = made.plan(tiny.groups(3, 4, seed=number))
    loss = made.train(shards[0], number, number)["loss"]
    flat = torch.cat([p.grad.detach().cpu().float().flatten() for p in made.policy.parameters() if p.grad is not None])
    return float(loss or 0.0), flat


def apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def kernels(device: torch.device, folder: Path) -> dict[str, Any]:
    """Each kernel for packed rows against SDPA by segments, forward and backward, shared prompts and grouped keys."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    layout = Layout((Segment(0, 64), Segment(64, 200, 0, 64), Segment(200, 231, 0, 64), Segment(231, 400)))
    torch.manual_seed(0)
    rows = [torch.randn(1, heads, 400, 64, device=device, dtype=dtype) for heads in (8, 2, 2)]
    there = [attention.flash_attention] if attention.flash_attn_varlen_func is not None else []
    there += [attention.torch_varlen] if attention.varlen_attn is not None else []
    chosen = attention.kernel

    def run(which: attention.Kernel | None) -> list[Tensor]:
        attention.kernel = lambda _: which
        leaves = [row.clone().requires_grad_() for row in rows]
        out, _ = attention.packed_attention(torch.nn.Module(), *leaves, None, 0.125, layout=layout)
        out.square().sum().backward()
        return [out, *[leaf.grad for leaf in leaves if leaf.grad is not None]]

    try:
        exact = run(None)
        found: dict[str, Any] = {"default": getattr(chosen(rows[0]), "__name__", "sdpa"), "holds": True}
        for which in there if device.type == "cuda" else []:
            gaps = [apart(a.float(), b.float()) for a, b in zip(run(which), exact, strict=True)]
            found[which.__name__] = max(gaps)
            found["holds"] = found["holds"] and max(gaps) < 0.02
    finally:
        attention.kernel = chosen
    return found


def precision(device: torch.device, folder: Path) -> dict[str, Any]:
    """bfloat16 on the device against float32 on the CPU, whose attention is SDPA by segments."""
    exact, rough = step(learner(folder, CPU)), step(learner(folder, device, policy__dtype="bfloat16"))
    gap = apart(rough[1], exact[1])
    return {"loss": rough[0], "loss float32": exact[0], "gradient differs by": gap, "holds": gap < 0.06}


def packed_and_padded(device: torch.device, folder: Path) -> dict[str, Any]:
    """Log-probabilities of a packed batch, prompts shared, against each trajectory by itself."""
    made = learner(folder, device)
    shards, _ = made.plan(tiny.groups(3, 4))
    worst = 0.0
    for bundles in shards[0].updates[0]:
        with torch.no_grad():
            batch, logp, _ = made._forward(made.policy, bundles, shards[0].images)
            for number, row in enumerate(batch.rows):
                alone = made._forward(made.policy, [(row,)], shards[0].images)[1]
                worst = max(worst, float((alone - logp[batch.sequence == number]).abs().max()))
    return {"largest difference": worst, "holds": worst < 1e-3}


def resume(device: torch.device, folder: Path) -> dict[str, Any]:
    """Three steps of fused AdamW in one go, and with a save and a restore after the second."""
    options = {"learner__lr": 1e-3, "learner__grad_clip": 1.0}
    whole = learner(folder, device, **options)
    for number in range(2):
        step(whole, number)
    saved = folder / "saved"
    saved.mkdir()
    torch.save(checkpoint.shard_of(whole.policy, whole.optimizer), saved / "learner_0_of_1.pt")
    again = learner(folder, device, **options)
    checkpoint.restore(saved, again.policy, again.optimizer)
    losses = [step(one, 2)[0] for one in (whole, again)]
    both = [torch.cat([p.detach().cpu().flatten() for p in one.policy.parameters()]) for one in (whole, again)]
    return {"losses": losses, "weights differ by": apart(both[1], both[0]), "holds": apart(both[1], both[0]) < 1e-5}


def savings(device: torch.device, folder: Path) -> dict[str, Any]:
    """Recomputed activations and chunked logits give the gradient of the plain way."""
    plain = step(learner(folder, device))[1]
    gaps = {
        "gradient_checkpointing": apart(step(learner(folder, device, learner__gradient_checkpointing=True))[1], plain),
        "logprob_chunk": apart(step(learner(folder, device, learner__logprob_chunk=16))[1], plain),
    }
    return {**gaps, "holds": max(gaps.values()) < 1e-4}


def lora(device: torch.device, folder: Path) -> dict[str, Any]:
    """Adapters raise the log-probability of what they are trained on, and the weights beneath stay."""
    if importlib.util.find_spec("peft") is None:
        return {"skipped": "peft is not installed"}
    made = learner(folder, device, learner__lr=3e-3, learner__lora_rank=4, grpo__proximal="learner")
    made.config.grpo.importance = "off"
    shards, _ = made.plan(tiny.groups(2, 3))
    pushed = Shard(
        tuple(
            tuple([tuple(replace(row, advantage=1.0) for row in bundle) for bundle in batch] for batch in update)
            for update in shards[0].updates
        ),
        shards[0].images,
    )
    frozen = [p for p in made.policy.parameters() if not p.requires_grad]
    before = [p.detach().clone() for p in frozen]

    def total() -> float:
        with torch.no_grad():
            return sum(float(made._forward(made.policy, b, pushed.images)[1].sum()) for b in pushed.updates[0])

    first = total()
    for number in range(3):
        made.train(pushed, number, number)
    kept = all(torch.equal(p, q) for p, q in zip(frozen, before, strict=True))
    return {"log-probability before and after": [first, total()], "holds": kept and total() > first + 5}
