"""Whether a model will train here: the whole circle once, on the model itself.

Guarantees: every step is done by what a run does it with: processor and chat template, vLLM engine, learner, one GRPO
step, weights into the running engine, checkpoint; what fails is one line and the steps that need it are left out.
"""

import asyncio
import io
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save
from torch import Tensor

from actors.dialogue import SENTINEL, Codec, Dialogue
from actors.engine.policy import PolicyEngine
from actors.families.adapters import adapter_of
from actors.families.tokens import placeholder
from actors.trajectory import Group, Reward, Trajectory
from configs.load import load
from configs.schema import Config
from serving.inference.checkpoint import shapes
from training.learner.image_inputs import WholePictures
from training.learner.model import Policy, named_weights
from training.learner.packing import Row, build, row_of
from training.learner.ranks import Ranks
from training.learner.sync_check import BOUNDS, TOKENS, probe
from training.learner.update import Learner
from training.run import checkpoint

EXACT = {torch.float32: 1e-3, torch.bfloat16: 0.3}  # nats, largest over tokens; float32 measures 1e-6 to 5e-5
BOUND = "<= {:g} nats"
STEP_LR = 1e-3  # of the one step, so that weights that do not arrive are seen
MB = 2**20


class Fault(Exception):
    """A step that does not hold; the message is its line."""


@dataclass(frozen=True)
class Step:
    name: str
    holds: bool
    found: str
    bound: str = ""


class Circle:
    """The steps, in order; `steps` grows as they are done."""

    def __init__(self, path: str, config: Config) -> None:
        self.path, self.config = path, config
        self.steps: list[Step] = []
        config.learner.lr, config.learner.warmup_steps, config.learner.updates = STEP_LR, 0, 1
        config.grpo.kl_beta = 0.0

    async def run(self) -> bool:
        """True where every step holds."""
        engine: PolicyEngine | None = None
        try:
            with self._step("prompt"):
                codec = Codec.load(self.path, self.config.prompts)
                self._prompt(codec)
            with self._step("learner loads"):
                learner = Learner(self.path, self.config, Ranks.join(self.config.learner.gpus))
                self._loaded(learner)
            with self._step("engine starts"):
                engine = PolicyEngine(self.path, self.config)
                self._add("engine starts", True, f"vLLM, {self.config.policy.dtype}")
            bound = EXACT[learner.dtype]
            with self._step("placeholders"):
                played = [await self._played(engine, codec, 0, reward) for reward in (0.0, 1.0)]
                self._add("placeholders", True, f"{len(played[0].token_ids)} tokens with 2 pictures, alike in both")
            with self._step("parity"):
                self._compare("parity", self._gap(learner, played), bound)
            with self._step("packed = alone"):
                self._packed(learner, played, bound)
            with self._step("one step"):
                shards, _ = learner.plan([Group(0, 0, tuple(played))])
                norm = learner.train(shards[0], 0, 0)["grad_norm"]
                self._add("one step", norm is not None and 0 < norm < float("inf"), f"gradient of norm {norm:.3g}")
            with self._step("weight sync"):
                await self._sync(engine, codec, learner, bound)
            with self._step("checkpoint"):
                self._checkpoint(learner, played[0], bound)
        except Fault:
            pass
        finally:
            if engine is not None:
                await engine.close()
        return all(step.holds for step in self.steps)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        try:
            yield
        except Fault:
            raise
        except Exception as error:
            problem = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            self._add(name, False, problem)
            raise Fault(problem) from error

    def _add(self, name: str, holds: bool, found: str, bound: str = "") -> None:
        self.steps.append(Step(name, holds, found, bound))

    def _compare(self, name: str, gap: float, bound: float) -> None:
        self._add(name, gap <= bound, f"{gap:.2g}", BOUND.format(bound))

    def _prompt(self, codec: Codec) -> None:
        """The template keeps our turns, and a picture's expansion is what the processor makes of the whole prompt."""
        from PIL import Image

        reply = codec.reply("feedback", image=True)
        if SENTINEL in reply or "<tool_response>feedback</tool_response>" not in reply:
            raise Fault("the chat template changes what it is given")
        dialogue = Dialogue.start(codec, probe(), direct=True)
        pad = placeholder(codec.processor)
        with Image.open(io.BytesIO(probe())) as image:
            made = codec.processor(text=[codec.opening(True)], images=[image.convert("RGB")], add_special_tokens=False)
        alike = list(made["input_ids"][0]) == dialogue.full_ids
        self._add("prompt", alike, f"{pad} -> {codec.image_tokens(probe())} ids", "as the processor's own")

    def _loaded(self, learner: Learner) -> None:
        family = learner.policy.hf.config.model_type
        size = sum(p.numel() for p in learner.policy.parameters())
        trained = sum(p.numel() for p in learner.policy.parameters() if p.requires_grad)
        how = "packed" if adapter_of(family) else "no adapter: one trajectory at a time, slower"
        self._add("learner loads", True, f"{family}, {size / 1e6:.1f} M parameters, {how}")
        learner_mb, engine_mb = (4 * size + 12 * trained) / MB, size * learner.dtype.itemsize / MB
        copies = 2 if self.config.engine.gpus == 0 else 1
        self._add("memory", True, f"learner {learner_mb:.0f} MB and activations, engine {copies * engine_mb:.0f} MB")

    async def _played(self, engine: PolicyEngine, codec: Codec, version: int, reward: float) -> Trajectory:
        """Two turns with a picture each."""
        dialogue = Dialogue.start(codec, probe())
        dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, TOKENS))
        dialogue.add_feedback("again", probe((140, 196)))
        dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, TOKENS))
        if set(dialogue.versions) - {-1} != {version}:
            raise Fault(f"tokens carry versions {set(dialogue.versions)}")
        return Trajectory(
            tuple(dialogue.full_ids), tuple(dialogue.sampled), tuple(dialogue.logprobs), tuple(dialogue.versions),
            tuple(dialogue.images), (), "answer", Reward(reward, reward, 0.0, 0.0),
        )  # fmt: skip

    def _row(self, learner: Learner, played: Trajectory) -> tuple[Row, dict[str, bytes]]:
        names = tuple(f"{zlib.crc32(png):08x}" for png in played.images)
        row = row_of(played, 0, 0, names, learner.limits, learner.pixels)
        if not isinstance(row, Row):
            raise Fault(f"the trajectory cannot be trained on ({row})")
        return row, dict(zip(names, played.images, strict=True))

    def _gap(self, learner: Learner, played: Sequence[Trajectory]) -> float:
        """Largest |learner - engine| over the sampled tokens; in bfloat16 the mean, as single tokens stray."""
        gaps = []
        for trajectory in played:
            row, images = self._row(learner, trajectory)
            apart = (learner.logprobs(row, images) - torch.from_numpy(row.behaviour[row.sampled])).abs()
            gaps.append(float(apart.max() if learner.dtype == torch.float32 else apart.mean()))
        return max(gaps)

    def _packed(self, learner: Learner, played: Sequence[Trajectory], bound: float) -> None:
        """Both trajectories in one micro-batch against the model's own forward pass on each."""
        if learner.policy.adapter is None:
            return
        rows = [self._row(learner, trajectory) for trajectory in played]
        images = {name: png for _, shown in rows for name, png in shown.items()}
        with torch.no_grad():
            together = learner._forward(learner.policy, [tuple(row for row, _ in rows)], images)[1].float().cpu()
        alone = torch.cat([plain(self.path, learner, row, shown) for row, shown in rows])
        self._compare("packed = alone", float((together - alone).abs().max()), bound)

    async def _sync(self, engine: PolicyEngine, codec: Codec, learner: Learner, bound: float) -> None:
        if self.config.engine.gpus:
            found = "GPU engines are checked at a run's first publication"
            self._add("weight sync", True, found, BOUND.format(BOUNDS[learner.dtype]))
            return
        weights = {n: w.cpu().contiguous() for n, w in named_weights(learner.policy, learner.dtype)}
        blob = np.frombuffer(save(weights), dtype=np.uint8)
        under_way = asyncio.create_task(self._played_through(engine, codec))
        await engine.update(blob, zlib.crc32(blob.data), 1)
        await under_way
        self._compare("weight sync", self._gap(learner, [await self._played(engine, codec, 1, 0.0)]), bound)

    async def _played_through(self, engine: PolicyEngine, codec: Codec) -> None:
        """A turn that is under way while the weights change."""
        dialogue = Dialogue.start(codec, probe())
        dialogue.add_sampled(await engine.sample(dialogue.short_ids, dialogue.images, TOKENS))

    def _checkpoint(self, learner: Learner, played: Trajectory, bound: float) -> None:
        """Written as a run writes it, it loads in plain transformers and has the names of the folder it came from."""
        row, images = self._row(learner, played)
        with tempfile.TemporaryDirectory() as run:
            writer = checkpoint.Writer(Path(run), self.path, 1, 0, 1)
            weights = {n: w.cpu().clone() for n, w in named_weights(learner.policy, learner.dtype)}
            shard = checkpoint.shard_of(learner.policy, learner.optimizer)
            writer.start(1, shard, weights, b"", {"reward": None, "base": self.path})
            writer.wait()
            if writer.written is None:
                raise Fault(str(writer.error))
            if Path(self.path).is_dir():
                before, after = shapes(Path(self.path)), shapes(writer.written)
                names = sorted(before.keys() ^ after.keys())
                self._add(
                    "checkpoint's names", not names, f"{len(after)} tensors {names[:3] or ''}", "as in the folder"
                )
            gap = float((plain(str(writer.written), learner, row, images) - learner.logprobs(row, images)).abs().max())
        self._compare("checkpoint", gap, bound)


def plain(path: str, learner: Learner, row: Row, images: dict[str, bytes]) -> Tensor:
    """A trajectory's log-probabilities by the model of `path` as transformers loads and computes it."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32).eval()
    policy = Policy(model, banned=sorted(learner.limits.banned), temperature=learner.config.sampling.temperature,
                    chunk=1 << 20, freeze_vision=False)  # fmt: skip
    policy.adapter = None
    whole = WholePictures(AutoProcessor.from_pretrained(path), learner.limits.image_token)
    batch = build([(row,)], learner.limits.image_token, whole)
    inputs = whole.inputs(row.ids, [images[name] for name in row.images])
    with torch.no_grad():
        return policy(batch, torch.empty(0), torch.empty(0, 3), [inputs])[0]


def show(steps: Sequence[Step]) -> None:
    table = Table(title=None)
    for heading in ("step", "holds", "found", "bound"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        table.add_row(step.name, "yes" if step.holds else "NO", step.found, step.bound)
    Console().print(table)


def check(path: str, config_file: str | None, overrides: Sequence[str]) -> int:
    """Do the circle and print it: 0 where all holds, else 1. Raises ConfigError."""
    config = load(config_file, overrides)
    config.policy.path = path
    torch.set_num_threads(config.learner.threads)
    circle = Circle(path, config)
    holds = asyncio.run(circle.run())
    show(circle.steps)
    return 0 if holds else 1
