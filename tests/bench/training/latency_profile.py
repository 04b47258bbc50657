"""An environment of known latencies: what a 7B policy, a renderer and a 72B judge take, a 17th of it, for the bench.

Guarantees: rollouts, queue and ledger are the real ones; only what answers them sleeps instead of computing. A turn is
drawn from the name of the turn, so two runs of the same prompts meet the same latencies, whatever their order.
"""

import asyncio
import math
import random
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.contracts import Domain, RenderResult, Sample, Verdict


@dataclass(frozen=True)
class Profile:
    """Seconds at full scale. One turn of a 7B policy: 0.5 s of prefill and 350 tokens (lognormal, sigma 0.8, at most
    2,048) at 40 tokens/s; a program runs 1 s (a tenth of them 4 s); a 72B judge writes 3 s (sigma 0.6); an update of
    256 trajectories takes 40 s; pausing engines for new weights 2 s. Four turns at most, half of the dialogues end
    before. These are the shapes that the paper's recipe (arXiv 2507.20766, 8 + 8 GPUs) gives; a user's own differ."""

    tokens: float = 350.0
    tokens_sigma: float = 0.8
    tokens_most: int = 2048
    tokens_per_s: float = 40.0
    prefill_s: float = 0.5
    render_s: float = 1.0
    judge_s: float = 3.0
    judge_sigma: float = 0.6
    update_s: float = 40.0
    sync_s: float = 2.0
    early_end: float = 0.2  # chance that a turn before the last is the answer
    scale: float = 0.06


@dataclass
class Busy:
    """How much of a part's capacity was in use: integral of requests under way, over its slots."""

    slots: int
    level: int = 0
    area: float = 0.0
    since: float = field(default_factory=time.perf_counter)

    @contextmanager
    def one(self) -> Any:
        self._move(1)
        try:
            yield
        finally:
            self._move(-1)

    def _move(self, by: int) -> None:
        now = time.perf_counter()
        self.area += self.level * (now - self.since)
        self.level, self.since = self.level + by, now

    def read(self) -> float:
        self._move(0)
        return self.area / self.slots


class Sleepers:
    """Policy, Renderer and Judge of a profile. `version_file` holds the newest version and whether engines pause."""

    def __init__(self, profile: Profile, codec: Any, slots: int, version_file: Path) -> None:
        self.profile = profile
        self.engine = Busy(slots)
        self._codec = codec
        self._slots = asyncio.Semaphore(slots)
        self._file = version_file
        encode = codec.processor.tokenizer.encode
        think = "<think>a plan</think>"
        self._call = encode(f"{think}<tool_call>\nplt.plot([1])</tool_call>", add_special_tokens=False)
        self._answer = encode(f"{think}<answer>\nplt.plot([1])</answer>", add_special_tokens=False)

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        """Holds one slot of the engine for as long as the turn's tokens take; they carry the versions they met."""
        p, rng = self.profile, random.Random(f"{session}/{len(prompt_ids)}")
        tokens = min(p.tokens_most, rng.lognormvariate(math.log(p.tokens), p.tokens_sigma))
        async with self._slots:
            with self.engine.one():
                first = self._version()
                await asyncio.sleep(p.scale * (p.prefill_s + tokens / p.tokens_per_s))
                last = self._version()
        ids = self._answer if rng.random() < p.early_end else self._call
        half = len(ids) // 2
        versions = (first,) * half + (last,) * (len(ids) - half)
        seen = len(prompt_ids) + sum(self._codec.image_tokens(png) - 1 for png in images)
        return Sample(tuple(ids), (-1.0,) * len(ids), versions, seen, "stop")

    async def render(self, source: str, domain: Domain) -> RenderResult:
        p = self.profile
        await asyncio.sleep(p.scale * p.render_s * (4 if random.random() < 0.1 else 1))
        return RenderResult(True, p.render_s, b"png", (1, 1))

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        p = self.profile
        await asyncio.sleep(p.scale * random.lognormvariate(math.log(p.judge_s), p.judge_sigma))
        return Verdict(random.random(), "nearly", "profile")

    def _version(self) -> int:
        return int(self._file.read_text())
