"""The embedded policy with random weights, and made-up trajectories for it."""

import io
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from actors.contracts import RenderResult
from actors.trajectory import Group, Reward, Trajectory, Turn
from training.data.tiny_policy import SPECIAL

PAD, START, END = (SPECIAL.index(f"<|{name}|>") for name in ("image_pad", "vision_start", "vision_end"))


def build_model(folder: Path, scale: float = 4.0) -> Path:
    """The embedded policy with weights `scale` times larger, so that log-probabilities differ clearly."""
    from training.data.tiny_policy import build
    from training.learner.model import load_model

    build(folder, seed=0)
    model = load_model(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (168, 140)) -> bytes:
    """A PNG of random blocks; equal seeds give equal bytes."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 7, size[0] // 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def image_tokens(png: bytes) -> int:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    width, height = Image.open(io.BytesIO(png)).size
    h, w = smart_resize(height, width, 28, 56 * 56, 168 * 140)
    return h * w // 28**2


def turn(ran: bool, kind: Literal["tool_call", "answer"] = "answer") -> Turn:
    """A turn whose program ran or failed."""
    render = RenderResult(True, 0.0, b"", (1, 1)) if ran else RenderResult(False, 0.0, kind="syntax")
    return Turn("", kind, "x", render, None, 1, (0.0, 0.0, 0.0))


def trajectory(
    prompt: list[int],
    target: bytes,
    rng: np.random.Generator,
    *,
    turns: int = 2,
    show: bool = True,
    words: tuple[int, int] = (5, 30),
) -> Trajectory:
    """Turns of `words` random tokens with feedback between them; `show` puts a picture into every feedback."""
    ids = [*prompt, START, *[PAD] * image_tokens(target), END]
    ids += rng.integers(20, 250, 4).tolist()
    sampled, images = [False] * len(ids), [target]
    for turn in range(turns):
        if turn:
            extra = rng.integers(20, 250, int(rng.integers(2, 9))).tolist()
            if show:
                png = picture(int(rng.integers(1 << 30)), (168, 140) if rng.random() < 0.5 else (112, 168))
                extra += [START, *[PAD] * image_tokens(png), END]
                images.append(png)
            ids += extra
            sampled += [False] * len(extra)
        count = int(rng.integers(*words))
        ids += rng.integers(20, 250, count).tolist()
        sampled += [True] * count
    logprobs = [float(-abs(rng.normal(4, 1))) if s else 0.0 for s in sampled]
    versions = [0 if s else -1 for s in sampled]
    total = float(rng.normal())
    return Trajectory(
        tuple(ids), tuple(sampled), tuple(logprobs), tuple(versions), tuple(images), (), "answer",
        Reward(total, 0.5, 1.0, 0.0),
    )  # fmt: skip


def groups(
    count: int = 3,
    size: int = 4,
    seed: int = 0,
    *,
    show: bool = True,
    max_turns: int = 3,
    words: tuple[int, int] = (5, 30),
) -> list[Group]:
    """Groups whose members share prompt and target; numbers of turns differ."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        prompt, target = rng.integers(20, 250, 12).tolist(), picture(1000 + number)
        same = rng.integers(20, 250, 4)  # the tokens after the picture are part of the prompt: alike in a group
        members = []
        for _ in range(size):
            played = trajectory(prompt, target, rng, turns=int(rng.integers(1, max_turns + 1)), show=show, words=words)
            at = len(prompt) + 2 + image_tokens(target)
            ids = (*played.token_ids[:at], *same.tolist(), *played.token_ids[at + 4 :])
            members.append(Trajectory(ids, *list(vars(played).values())[1:]))
        out.append(Group(number, number, tuple(members)))
    return out
