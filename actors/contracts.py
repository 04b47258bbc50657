"""What Algorithm 1 needs of its environment: three small protocols and the frozen data that crosses them.

Guarantees: nothing here imports an engine, a cluster or a framework, so an episode runs the same against cluster
handles, an in-process engine or a test. An *outcome* (a program that fails) is data; a failure of *infrastructure* is
an `Outage` and never becomes data, hence never a reward.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from actors.text import one_line

Domain = str  # a shipped name, or the path of a file; `configs.domains.find` gives what it is
FailureKind = Literal["syntax", "exception", "timeout", "memory", "no_figure", "too_large", "forbidden", "crashed"]


class Outage(RuntimeError):
    """Infrastructure failed: `part` names what (engine, render, judge, queue, sync) and the message says how."""

    exit_status = 1

    def __init__(self, part: str, message: str) -> None:
        super().__init__(part, message)
        self.part = part
        self.message = one_line(message)  # it may quote an endpoint

    def __str__(self) -> str:
        return f"{self.part}: {self.message}"


@dataclass(frozen=True)
class Sample:
    """One turn of sampled tokens. `logprobs` are natural logs under the sampling distribution, `versions` the weight
    version that sampled each token; all three have one entry per sampled token, the stop token included."""

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    versions: tuple[int, ...]
    prompt_tokens: int  # length of the prompt after the engine expanded image placeholders
    finish: Literal["stop", "length"]


@dataclass(frozen=True)
class StoredWeights:
    """One version's weights in Ray's object store, for a CPU engine that has to be started again: `reference` is of a
    safetensors image (uint8 array), `crc32` its checksum. Inside this class Ray passes the reference on unresolved."""

    reference: Any
    crc32: int


@dataclass(frozen=True)
class RenderResult:
    """`ok` with a PNG, or a failed program with a kind and a message that a model can act on (never a host path)."""

    ok: bool
    seconds: float
    png: bytes | None = None
    size: tuple[int, int] | None = None  # width, height in pixels
    kind: FailureKind | None = None
    message: str = ""


@dataclass(frozen=True)
class Difference:
    """One finding of a judge. `severity` 1 (slight) to 3 (severe)."""

    category: str
    severity: int
    where: str
    what: str


@dataclass(frozen=True)
class Verdict:
    """`score` in 0..1 (1 = same picture); `feedback` is addressed to the writer of the code."""

    score: float
    feedback: str
    backend: str
    differences: tuple[Difference, ...] = ()
    sub_scores: Mapping[str, float] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)  # of work, waiting not counted; 0 where unknown


class Policy(Protocol):
    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        """Continue `prompt_ids` (one placeholder per image of `images`, PNG bytes in order) until a closing tag, the
        end of the message or `max_tokens`. `session` keeps a trajectory's turns on one engine. Raises Outage."""
        ...


class Renderer(Protocol):
    async def render(self, source: str, domain: Domain) -> RenderResult:
        """Run a program or a page and return its picture, or how it failed. Raises Outage."""
        ...


class Judge(Protocol):
    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Similarity of two PNG pictures. Raises Outage; never invents a score."""
        ...

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        """Which of two renders (PNG) is closer to the target: 1 the first, 0 the second, 0.5 neither, between them
        where several answers differ. `prefer(t, a, b) + prefer(t, b, a)` is 1. Raises Outage."""
        ...
