"""Supervised training of a base policy: next-token loss on dialogues about labelled pictures, as a course gives them.

Guarantees: it runs on a GPU where there is one; after kill -9 it goes on from the last checkpoint (weights, optimisers,
step; what a step teaches depends on the step alone); a checkpoint is published by one rename; held-out figures are
logged as it goes.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MethodType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from actors.dialogue import Codec, Dialogue
from actors.families.tokens import banned_ids
from actors.files import beside, publish
from configs.schema import Prompts
from training.base.repairs import lay
from training.learner.model import Policy, load_model
from training.learner.packing import Row, build

MATRIX_LR, OTHER_LR = 0.02, 2e-3  # Muon (Jordan et al. 2024) on matrices, AdamW on the rest
SAVE_EVERY = 50  # steps
PATCH, MERGE = 14, 2


@dataclass(frozen=True)
class Sample:
    """A picture, (height, width, 3) bytes as the image processor resizes it, and the dialogue about it: the answer,
    after `tried` (attempts: text, taught or not, feedback) where there are any. `last`: no further call is offered."""

    name: str  # of the picture; equal names are equal pictures
    picture: np.ndarray
    answer: str
    tried: tuple[dict[str, Any], ...] = ()
    last: bool = False


class Course(Protocol):
    """What is taught when. `every`: steps between figures of held-out pictures."""

    every: int

    def loss(self, teacher: "Teacher", step: int) -> tuple[Tensor, int]:
        """Of the samples of one optimiser step, with a gradient; and how many tokens they have."""

    def rate(self, step: int) -> tuple[float, float]:
        """Share of the full learning rate, and the decay of matrices' weights."""

    def held_out(self, teacher: "Teacher", step: int) -> dict[str, Any]:
        """Figures of pictures that are never taught, after so many steps."""


class Shape:
    """What packing asks of pictures whose patches are at hand."""

    merge = MERGE
    packed = True

    def tokens(self, grid: tuple[int, int, int]) -> int:
        return grid[0] * grid[1] * grid[2] // self.merge**2


def patches(stack: np.ndarray, mean: float, std: float, device: torch.device | str = "cpu") -> Tensor:
    """(n, height, width, 3) bytes as the image processor's patches, but once instead of once for each of the temporal
    pair: (n * patches, 3 * PATCH**2), float32."""
    x = (torch.from_numpy(stack).to(device).permute(0, 3, 1, 2).float() / 255 - mean) / std
    n, c, h, w = x.shape
    x = x.view(n, c, h // PATCH // MERGE, MERGE, PATCH, w // PATCH // MERGE, MERGE, PATCH)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # n, gh, gw, mh, mw, c, ph, pw
    return x.reshape(n * (h // PATCH) * (w // PATCH), -1)


def _embed_once(self: Any, flat: Tensor) -> Tensor:
    """The patch embedding of a still picture: both frames of the temporal pair are the same, so their weights add."""
    return torch.nn.functional.linear(flat, self.proj.weight.sum(2).flatten(1))


def orthogonal(gradient: Tensor, steps: int = 4) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices of a stack (k, m, n); in float32, for
    processors without bfloat16 units (torch.optim.Muon computes in bfloat16)."""
    x = gradient / (gradient.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with Nesterov momentum .95; matrices of one shape go through one stack."""

    def __init__(self, matrices: list[torch.nn.Parameter], lr: float) -> None:
        super().__init__(matrices, {"lr": lr, "decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.shape].append(p)
            for shape, members in shapes.items():
                updates = []
                for p in members:
                    momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    gradient: Any = p.grad
                    momentum.lerp_(gradient, 0.05)
                    updates.append(torch.lerp(gradient, momentum, 0.95))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, u in zip(members, orthogonal(torch.stack(updates)), strict=True):
                    p.mul_(1 - group["lr"] * group["decay"]).add_(u, alpha=-group["lr"] * scale)


def optimisers(model: Any) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return [
        Muon(matrices, MATRIX_LR),
        torch.optim.AdamW(rest, OTHER_LR, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    ]


class Teacher:
    """A policy folder and what is asked of it."""

    def __init__(self, path: Path, prompts: Prompts) -> None:
        self.codec = Codec.load(str(path), prompts)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = load_model(path)
        embed = self.model.model.visual.patch_embed
        embed.forward = MethodType(_embed_once, embed)
        handler = self.codec.processor.image_processor
        self.mean, self.std = handler.image_mean[0], handler.image_std[0]
        self.policy = Policy(
            self.model.train(),
            banned=banned_ids(self.codec.tokenizer),
            temperature=1.0,
            chunk=1 << 20,
            freeze_vision=False,
        ).to(self.device)
        self.image_token = self.model.config.image_token_id
        self._openings: dict[tuple[bool, tuple[int, ...]], Dialogue] = {}

    def opening(self, direct: bool, shape: tuple[int, ...]) -> Dialogue:
        """A dialogue about a picture of that shape, before the first answer."""
        if (direct, shape) not in self._openings:
            self._openings[direct, shape] = Dialogue.start(self.codec, _png(*shape[:2]), direct=direct)
        return deepcopy(self._openings[direct, shape], {id(self.codec): self.codec})

    def row(self, sample: Sample) -> Row:
        dialogue = self.opening(not sample.tried, sample.picture.shape)
        lay(dialogue, {"turns": sample.tried, "answer": sample.answer, "last": sample.last})
        ids = np.asarray(dialogue.full_ids, dtype=np.int64)
        sampled = np.asarray(dialogue.sampled, dtype=bool)
        zeros = np.zeros(len(ids), dtype=np.float32)
        grid = (1, sample.picture.shape[0] // PATCH, sample.picture.shape[1] // PATCH)
        return Row(ids, sampled, zeros, zeros.astype(np.int64), (sample.name,), (grid,), 0, 0, weight=1.0)

    def logp(self, samples: Sequence[Sample]) -> tuple[Tensor, Any]:
        """Log-probabilities of what is taught, and the batch they belong to; all pictures have one size."""
        rows = [self.row(sample) for sample in samples]
        batch = build([(replace(r, group=n),) for n, r in enumerate(rows)], self.image_token, Shape())  # type: ignore[arg-type]
        # equal pictures of one batch are laid out once
        by_name = {sample.name: sample.picture for sample in samples}
        stack = np.stack([by_name[name] for name in batch.images])
        grids = torch.tensor([rows[0].grids[0]] * len(batch.images), device=self.device)
        batch = batch.to(self.device)
        # kernels for packed rows take bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logp, _ = self.policy(batch, patches(stack, self.mean, self.std, self.device), grids)
        return logp, batch

    def loss(self, samples: Sequence[Sample]) -> tuple[Tensor, int]:
        """Mean of the taught tokens, nats, and how many tokens the samples have."""
        logp, batch = self.logp(samples)
        return -logp.mean(), len(batch.ids)

    @torch.no_grad()
    def scores(self, samples: Sequence[Sample]) -> list[tuple[Tensor, Tensor]]:
        """Teacher-forced: the taught tokens of each sample and their log-probabilities."""
        logp, batch = self.logp(samples)
        logp, target, sequence = logp.cpu(), batch.target.cpu(), batch.sequence.cpu()
        return [(target[sequence == n], logp[sequence == n]) for n in range(len(samples))]


def _png(height: int, width: int) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def train(
    path: Path,
    folder: Path,
    course: Course,
    prompts: Prompts,
    seed: int,
    out: Path,
    *,
    steps: int,
) -> None:
    """From the untrained policy at `path` to the trained one at `out`; state and log in `folder`."""
    torch.manual_seed(seed)
    teacher = Teacher(path, prompts)
    tools = optimisers(teacher.model)
    state = folder / "state.pt"
    step, spent, lasted = 0, 0.0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=teacher.device)
        step, spent, lasted = saved["step"], saved["seconds"], saved.get("wall", 0.0)
        teacher.model.load_state_dict(saved["model"])
        for tool, kept in zip(tools, saved["optimisers"], strict=True):
            tool.load_state_dict(kept)
    log = (folder / "log.jsonl").open("a", buffering=1)
    losses: list[Tensor] = []
    started, clock = time.monotonic() - lasted, time.process_time()
    while step < steps:
        rate, decay = course.rate(step)
        loss, tokens = course.loss(teacher, step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(teacher.model.parameters(), 1.0)
        for tool, base in zip(tools, (MATRIX_LR, OTHER_LR), strict=True):
            for group in tool.param_groups:
                group["lr"] = base * rate
                if isinstance(tool, Muon):
                    group["decay"] = decay
            tool.step()
            tool.zero_grad(set_to_none=True)
        losses.append(loss.detach())
        step += 1
        last = step == steps
        if step % 50 == 0 or last:
            line: dict[str, Any] = {"step": step, "loss": round(torch.stack(losses).mean().item(), 4)}
            line |= {
                "rate": round(rate, 3),
                "wall_s": round(time.monotonic() - started),
                "cpu_s": round(spent + time.process_time() - clock),
                "tokens": tokens,
            }
            losses.clear()
            if step % course.every == 0 or last:
                line["held_out"] = course.held_out(teacher, step)
            print(json.dumps(line), flush=True)
            print(json.dumps(line), file=log)
        if step % SAVE_EVERY == 0 or last:
            part = state.with_suffix(f".{os.getpid()}")
            kept = {"step": step, "seconds": spent + time.process_time() - clock, "wall": time.monotonic() - started}
            kept |= {"model": teacher.model.state_dict(), "optimisers": [tool.state_dict() for tool in tools]}
            torch.save(kept, part)
            part.rename(state)
    fresh = beside(out)
    teacher.model.save_pretrained(fresh)
    teacher.codec.processor.save_pretrained(fresh)
    publish(fresh, out)
