"""The embedded policy's supervised start: from nothing to a policy that writes plausible, often broken programs.

Guarantees: the same settings and sources give the same weights on one machine; the work is counted in optimiser steps,
never in seconds; traces are built by the same dialogue, renderer and judge that rollouts use; there is loss on what a
good policy would say and never on a deliberate mistake. The result is cached by everything it depends on.
"""

import asyncio
import hashlib
import json
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from actors.dialogue import Codec, Dialogue, banned_ids
from actors.files import beside, publish
from actors.rollout.episode import words
from configs.schema import Config
from serving.judge import perceptual
from serving.judge.perceptual import compare
from training.data import synthetic_charts, tiny_policy
from training.data.synthetic_charts import COLOURS, KINDS, TITLES, Drawn, draw
from training.learner import model
from training.learner.image_inputs import Pixels
from training.learner.model import Policy, load_model
from training.learner.packing import Row, build, placeholder_runs

OFFSET = 1_000_000  # cold-start charts are not the charts of training: other numbers of the same generator
MATRIX_LR, OTHER_LR = 0.02, 2e-3  # Muon (Jordan et al. 2024) on matrices, AdamW on the rest


@dataclass(frozen=True)
class Lesson:
    """One chart with what the policy first tries: `attempt` differs from the program where a mistake is made."""

    chart: Drawn
    attempt: str
    flawed: bool


def ensure_policy(config: Config, cache: Path = Path(".cache/rrvf")) -> Path:
    """Folder of the cold-started policy, made on the first call."""
    path = cache / f"policy-{fingerprint(config)}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        make(config, path)
    return path.resolve()


def fingerprint(config: Config) -> str:
    """Of every setting and source that the weights depend on."""
    judge = sorted(Path(perceptual.__file__).parent.glob("*.py"))  # its feedback is part of the traces
    modules = (__file__, synthetic_charts.__file__, tiny_policy.__file__, model.__file__)
    sources = [Path(str(file)).read_bytes() for file in (*modules, *judge)]
    settings = [asdict(config.coldstart), asdict(config.prompts), asdict(config.feedback)]
    return hashlib.sha256(b"\0".join([json.dumps(settings).encode(), *sources])).hexdigest()[:12]


def make(config: Config, path: Path) -> None:
    """Draw lessons, build the policy, train it, write it to `path`."""
    settings = config.coldstart
    torch.manual_seed(settings.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    started = time.monotonic()
    lessons = [lesson(i, settings.seed) for i in range(settings.charts)]
    print(f"cold start: drawing {len(lessons)} charts", flush=True)
    pictures, told = asyncio.run(look(lessons, config.feedback.max_chars))
    print(
        f"cold start: {settings.steps} steps of {settings.batch} traces ({time.monotonic() - started:.0f} s)",
        flush=True,
    )
    fresh = beside(path)
    texts = [x.chart.program for x in lessons[:400]] + [t for t in told if t] + list(asdict(config.prompts).values())
    tiny_policy.build(fresh, settings.seed, texts)
    codec = Codec.load(str(fresh), config.prompts)
    train(fresh, codec, lessons, pictures, told, config)
    publish(fresh, path)
    torch.set_num_threads(threads)
    print(f"cold start: done in {time.monotonic() - started:.0f} s, {path}", flush=True)


def lesson(index: int, seed: int) -> Lesson:
    """Chart `index` and a first attempt: right in half the cases, else with one wrong attribute or broken syntax."""
    chart = draw(OFFSET + index, seed, "train")
    fortune = random.Random(f"{seed}/lesson/{index}")
    attempt = mistake(chart, fortune) if fortune.random() < 0.5 else chart.program
    return Lesson(chart, attempt, attempt != chart.program)


def mistake(chart: Drawn, fortune: random.Random) -> str:
    """The program with one fault that a weak policy would make."""
    program = chart.program
    fault = fortune.choice(("colour", "title", "kind", "syntax"))
    if fault == "colour":
        old = chart.colours[0]
        return program.replace(f"'{old}'", f"'{fortune.choice([c for c in COLOURS if c != old])}'", 1)
    if fault == "title":
        return program.replace(chart.title, fortune.choice([t for t in TITLES if t != chart.title]))
    if fault == "kind" and chart.kind != "pie":
        kind = fortune.choice([k for k in KINDS if k not in (chart.kind, "pie")])
        return program.replace(f"plt.{chart.kind}(", f"plt.{kind}(")
    return program.replace("]", "", 1) if fortune.random() < 0.5 else program.replace("')", "'", 1)


async def look(lessons: Sequence[Lesson], max_chars: int) -> tuple[list[bytes], list[str]]:
    """The target picture of every lesson, and what judge or renderer say of the attempt."""
    from actors.contracts import RenderResult

    results = await synthetic_charts.render_results(
        [x.chart.program for x in lessons] + [x.attempt for x in lessons if x.flawed], workers=2
    )
    targets: list[bytes] = [r.png or b"" for r in results[: len(lessons)]]
    attempts = iter(results[len(lessons) :])
    told: list[str] = []
    for one, target in zip(lessons, targets, strict=True):
        result: RenderResult = next(attempts) if one.flawed else RenderResult(True, 0.0, target)
        verdict = compare(target, result.png) if result.png is not None else None
        told.append(words(result, verdict, max_chars))
    return targets, told


def trace(codec: Codec, one: Lesson, picture: bytes, told: str, direct: bool) -> Dialogue:
    """A finished dialogue: one answer, or a call, what was said of it, and the answer."""
    think = f"<think>{one.chart.kind}</think>"
    dialogue = Dialogue.start(codec, picture, direct=direct)
    if not direct:
        dialogue.add_text(f"{think}<tool_call>\n{one.attempt}</tool_call>")
        if one.flawed:
            dialogue.sampled = [False] * len(dialogue.sampled)  # a mistake is shown, not taught
        dialogue.add_feedback(told)
    dialogue.add_text(f"{think}<answer>\n{one.chart.program}</answer>")
    return dialogue


def row_of(dialogue: Dialogue, pixels: Pixels, image_token: int) -> Row:
    """A trace as the learner packs it; every taught token weighs the same."""
    names = tuple(hashlib.sha256(png).hexdigest() for png in dialogue.images)
    grids = tuple(pixels.grid(png, name) for png, name in zip(dialogue.images, names, strict=True))
    ids = np.asarray(dialogue.full_ids, dtype=np.int64)
    assert len(placeholder_runs(ids, image_token)) == len(grids)
    sampled = np.asarray(dialogue.sampled, dtype=bool)
    zeros = np.zeros(len(ids), dtype=np.float32)
    return Row(ids, sampled, zeros, np.zeros(len(ids), dtype=np.int64), names, grids, 0, 0, weight=1.0)


def train(
    path: Path, codec: Codec, lessons: Sequence[Lesson], pictures: Sequence[bytes], told: Sequence[str], config: Config
) -> None:
    """Next-token loss over random traces; warm-up, cosine, clip 1."""
    settings = config.coldstart
    model = load_model(path)
    banned = banned_ids(codec.tokenizer)
    policy = Policy(model.train(), banned=banned, temperature=1.0, chunk=1 << 20, freeze_vision=False)
    image_token = model.config.image_token_id
    pixels = Pixels(codec.processor.image_processor, keep_mb=4096)
    images = {hashlib.sha256(png).hexdigest(): png for png in pictures}
    rows = [
        [
            replace(row_of(trace(codec, x, png, t, direct), pixels, image_token), group=i, member=0)
            for direct in (False, True)
        ]
        for i, (x, png, t) in enumerate(zip(lessons, pictures, told, strict=True))
    ]
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    optimisers = [
        torch.optim.Muon(matrices, lr=MATRIX_LR, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=OTHER_LR, weight_decay=0.0, betas=(0.9, 0.95), fused=True),
    ]
    fortune = random.Random(settings.seed)
    order: list[int] = []
    for step in track(range(settings.steps), "cold start", disable=not sys.stdout.isatty()):
        if len(order) < settings.batch:
            order = fortune.sample(range(len(rows)), len(rows))
        picked = [rows[order.pop()][int(fortune.random() < settings.direct)] for _ in range(settings.batch)]
        batch = build([(row,) for row in picked], image_token, pixels)
        with torch.autocast("cpu", torch.bfloat16):  # a third faster here; what is learned this briefly is rough anyway
            logp, _ = policy(batch, *pixels.patches(batch.images, images))
        loss = -logp.mean()
        rate = min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        for optimiser, base in zip(optimisers, (MATRIX_LR, OTHER_LR), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = base * rate
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        if (step + 1) % 50 == 0 and not sys.stdout.isatty():
            print(f"cold start: step {step + 1}/{settings.steps}, loss {loss.item():.3f}", flush=True)
    model.save_pretrained(path)
