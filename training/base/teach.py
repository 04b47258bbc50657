"""Supervised training of the base policy: next-token loss on dialogues about labelled charts.

Guarantees: it runs on a GPU where there is one; after kill -9 it goes on from the last checkpoint (weights, optimisers,
step; the batch of a step depends on the step alone); a checkpoint is published by one rename; held-out figures of every
kind are logged as it goes.
"""

import json
import math
import os
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actors.dialogue import Codec, Dialogue
from actors.families.tokens import banned_ids
from actors.files import beside, publish
from configs.schema import Prompts
from training.base import curriculum, lessons, repairs
from training.base.curriculum import Item
from training.base.pictures import HEIGHT, WIDTH, Pools
from training.data.chart_looks import Look
from training.data.synthetic_charts import SIZE
from training.learner.model import Policy, load_model
from training.learner.packing import Row, build

MATRIX_LR, OTHER_LR = 0.02, 2e-3  # Muon (Jordan et al. 2024) on matrices, AdamW on the rest
SAVE_EVERY = 150  # steps
PATCH, MERGE = 14, 2
GRID = (1, HEIGHT // PATCH, WIDTH // PATCH)


class Shape:
    """What packing asks of pictures whose patches are at hand."""

    merge = MERGE
    packed = True

    def tokens(self, grid: tuple[int, int, int]) -> int:
        return grid[0] * grid[1] * grid[2] // self.merge**2


def patches(stack: np.ndarray, mean: float, std: float) -> Tensor:
    """(n, HEIGHT, WIDTH, 3) bytes as the image processor's patches, but once instead of once for each of the temporal
    pair: (n * patches, 3 * PATCH**2), float32."""
    x = (torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255 - mean) / std
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
    """A policy folder, its pictures and what is asked of it."""

    def __init__(self, path: Path, pools: Pools, prompts: Prompts, shuffled: bool = False) -> None:
        self.pools, self.shuffled = pools, shuffled
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
        self.blank = _png()
        self.lessons: dict[tuple[str, str, int, str], dict[str, str]] = {}
        self.repairs: list[dict[str, Any]] = []

    def lesson(self, item: Item) -> dict[str, str]:
        """What was tried first and what was said of it; drawn by `training.base.lessons`."""
        if not self.lessons:
            path = self.pools.wait_for(lessons.FILE)
            self.lessons = {(x["kind"], x["look"], x["index"], x["form"]): x for x in map(json.loads, path.open())}
        return self.lessons[item.kind, item.look, item.index, item.form]

    def told(self, number: int) -> dict[str, Any]:
        """One of the dialogues of `training.base.repairs`."""
        if not self.repairs:
            self.repairs = [json.loads(line) for line in self.pools.wait_for(repairs.FILE).open()]
        return self.repairs[number % len(self.repairs)]

    def row(self, item: Item, split: str) -> tuple[Row, np.ndarray]:
        if item.form == "told":
            told = self.told(item.index)
            item = Item(told["kind"], told["look"], told["index"], "told")
            dialogue = repairs.lay(Dialogue.start(self.codec, self.blank), told)
            return self._packed(dialogue, item, split)
        found = self.pools.chart(split, item.kind, item.look, item.index)  # type: ignore[arg-type]
        dialogue = Dialogue.start(self.codec, self.blank, direct=item.form == "direct")
        if item.form == "direct":
            dialogue.add_text(found.answer)
        else:
            first = self.lesson(item)
            think = found.answer.split("<answer>")[0]
            dialogue.add_text(f"{think}<tool_call>\n{first['attempt']}</tool_call>")
            if first["attempt"] != found.program:
                dialogue.sampled = [False] * len(dialogue.sampled)  # a mistake is shown, not taught
            dialogue.add_feedback(first["feedback"])
            dialogue.add_text(found.answer)
        return self._packed(dialogue, item, split)

    def _packed(self, dialogue: Dialogue, item: Item, split: str) -> tuple[Row, np.ndarray]:
        ids = np.asarray(dialogue.full_ids, dtype=np.int64)
        sampled = np.asarray(dialogue.sampled, dtype=bool)
        zeros = np.zeros(len(ids), dtype=np.float32)
        name = f"{split}/{item.kind}/{item.look}/{item.index}"
        row = Row(ids, sampled, zeros, zeros.astype(np.int64), (name,), (GRID,), 0, 0, weight=1.0)
        seen = item.index ^ (self.shuffled and split == "train")  # neighbours have each other's picture
        return row, self.pools.picture(split, item.kind, item.look, seen)  # type: ignore[arg-type]

    def logp(self, items: list[Item], split: str) -> tuple[Tensor, Any]:
        done = [self.row(i, split) for i in items]
        batch = build([(replace(r, group=n),) for n, (r, _) in enumerate(done)], self.image_token, Shape())  # type: ignore[arg-type]
        # equal pictures of one batch are laid out once
        by_name = {r.images[0]: p for r, p in done}
        stack = np.stack([by_name[name] for name in batch.images])
        grids = torch.tensor([GRID] * len(batch.images), device=self.device)
        batch = batch.to(self.device)
        # kernels for packed rows take bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            logp, _ = self.policy(batch, patches(stack, self.mean, self.std).to(self.device), grids)
        return logp, batch


def _png() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", SIZE).save(out, "PNG")
    return out.getvalue()


def held_out(teacher: Teacher, kinds: tuple[str, ...], looks: tuple[Look, ...], count: int = 48) -> dict[str, Any]:
    """Per kind and look, teacher-forced: nats a value and shares of values, colours and titles that come first."""
    ends = teacher.codec.encode("</think>")[0]
    found: dict[str, Any] = {}
    for kind in kinds:
        for look in looks:
            hits = defaultdict(list)
            for start in range(0, count, 16):
                items = [Item(kind, look, i, "direct") for i in range(start, start + 16)]
                with torch.no_grad():
                    logp, batch = teacher.logp(items, "heldout")
                for n, item in enumerate(items):
                    mine = batch.sequence == n
                    target, score = batch.target[mine], logp[mine]
                    end = int((target == ends).nonzero()[0])
                    size = len(teacher.pools.chart("heldout", kind, look, item.index).values)
                    values = score[end - size : end]
                    hits["nats"].append(-values.mean().item())
                    hits["values"].append((values > math.log(0.5)).float().mean().item())
                    hits["colour"].append(float(score[end - size - 2] > math.log(0.5)))
                    hits["title"].append(float(score[end - size - 4] > math.log(0.5)))
            found[f"{kind}/{look}"] = {k: round(sum(v) / len(v), 3) for k, v in hits.items()}
    return found


def train(
    path: Path,
    folder: Path,
    pools: Pools,
    prompts: Prompts,
    seed: int,
    out: Path,
    *,
    steps: int = curriculum.TOTAL,
    shuffled: bool = False,
) -> None:
    """From the untrained policy at `path` to the trained one at `out`; state and log in `folder`. `shuffled`: every
    training chart comes with another's picture."""
    torch.manual_seed(seed)
    teacher = Teacher(path, pools, prompts, shuffled)
    tools = optimisers(teacher.model)
    state = folder / "state.pt"
    step, spent = 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=teacher.device)
        step, spent = saved["step"], saved["seconds"]
        teacher.model.load_state_dict(saved["model"])
        for tool, kept in zip(tools, saved["optimisers"], strict=True):
            tool.load_state_dict(kept)
    log = (folder / "log.jsonl").open("a", buffering=1)
    losses: list[float] = []
    started, clock = time.monotonic(), time.process_time()
    while step < steps:
        rate = curriculum.learning_rate(step)
        logp, batch = teacher.logp(curriculum.batch(step, seed), "train")
        loss = -logp.mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(teacher.model.parameters(), 1.0)
        for tool, base in zip(tools, (MATRIX_LR, OTHER_LR), strict=True):
            for group in tool.param_groups:
                group["lr"] = base * rate
                if isinstance(tool, Muon):
                    group["decay"] = curriculum.stage_of(step)[0].decay
            tool.step()
            tool.zero_grad(set_to_none=True)
        losses.append(loss.item())
        step += 1
        if step % 50 == 0 or step == steps:
            wall = time.monotonic() - started
            line: dict[str, Any] = {"step": step, "loss": round(sum(losses) / len(losses), 4), "rate": round(rate, 3)}
            line |= {
                "wall_s": round(wall),
                "cpu_s": round(spent + time.process_time() - clock),
                "tokens": len(batch.ids),
            }
            losses.clear()
            if step % 250 == 0 or step == steps:
                stage, _ = curriculum.stage_of(step - 1)
                looks: tuple[Look, ...] = ("plain",)
                looks += ("mild",) if stage.mild else ()
                looks += ("cosmetic",) if stage.cosmetic else ()
                line["held_out"] = held_out(teacher, stage.kinds, looks)
            print(json.dumps(line), flush=True)
            print(json.dumps(line), file=log)
        if step % SAVE_EVERY == 0 or step == steps:
            part = state.with_suffix(f".{os.getpid()}")
            kept = {"step": step, "seconds": spent + time.process_time() - clock, "model": teacher.model.state_dict()}
            torch.save(kept | {"optimisers": [tool.state_dict() for tool in tools]}, part)
            part.rename(state)
    fresh = beside(out)
    teacher.model.save_pretrained(fresh)
    teacher.codec.processor.save_pretrained(fresh)
    publish(fresh, out)
