"""Whether the engines compute with the weights that were published: one prompt, answered there and scored here.

Guarantees: a run whose engines answer with other weights, or compute them otherwise, does not go on: after its first
publication, and after the first one of trained weights, every engine's log-probabilities are compared with the
learner's; beyond the bound an Outage names the model's family, the figure and the likely cause. Costs one short answer
an engine.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image

from actors.contracts import Outage, Sample
from actors.dialogue import Codec, Dialogue
from actors.trajectory import Reward, Trajectory
from configs.schema import Config
from training.learner.packing import Row, row_of
from training.learner.update import Learner

TOKENS = 24  # of an answer
# Mean |difference| in nats over an answer's tokens. float32 engines measure 1e-6 to 2e-5; bfloat16 ones 0.02 to 0.05
# and single tokens 0.1; a head or experts with old weights 1 to 7 (tests/training/families, and families in the guide).
BOUNDS = {torch.float32: 0.02, torch.bfloat16: 0.3}
FIRST = "the same weights are computed differently: the engine's reload of this family, or the learner's forward pass"
LATER = "trained weights do not all reach the engine: a tied head, experts, or names that its loader passes over"


def probe(size: tuple[int, int] = (224, 168)) -> bytes:
    """A picture with something in every patch, the same everywhere (PNG)."""
    blocks = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(blocks).resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def answers(policies: Sequence[Any], codec: Codec, config: Config, version: int) -> list[Trajectory]:
    """Each engine's answer to the probe (rank 0). Raises Outage where one does not answer as weights `version`."""
    dialogue = Dialogue.start(codec, probe(), direct=True)
    calls = [p.sample.remote(dialogue.short_ids, dialogue.images, TOKENS) for p in policies]
    try:
        samples: list[Sample] = ray.get(calls, timeout=config.engine.turn_s)
    except ray.exceptions.GetTimeoutError:
        raise Outage("sync", f"an engine does not answer within {config.engine.turn_s:g} s (engine.turn_s)") from None
    except ray.exceptions.RayTaskError as error:
        raise Outage("sync", f"an engine cannot answer: {' '.join(str(error.cause).split())[:300]}") from error
    except ray.exceptions.RayError as error:
        raise Outage("sync", f"an engine is gone ({type(error).__name__})") from error
    return [_trajectory(codec, sample, version) for sample in samples]


def _trajectory(codec: Codec, sample: Sample, version: int) -> Trajectory:
    dialogue = Dialogue.start(codec, probe(), direct=True)
    try:
        dialogue.add_sampled(sample)
    except ValueError as error:
        raise Outage("sync", f"{error}: placeholders are expanded differently there") from None
    if set(sample.versions) != {version}:
        raise Outage("sync", f"an engine answers with weights {sorted(set(sample.versions))}, not {version}")
    return Trajectory(
        tuple(dialogue.full_ids), tuple(dialogue.sampled), tuple(dialogue.logprobs), tuple(dialogue.versions),
        tuple(dialogue.images), (), "answer", Reward(0.0, 0.0, 0.0, 0.0),
    )  # fmt: skip


def gap(learner: Learner, trajectory: Trajectory) -> float:
    """Mean |learner - engine| of one answer's tokens in nats; nan where either is not finite. Every rank must ask."""
    row = row_of(trajectory, 0, 0, ("probe",), learner.limits, learner.pixels)
    if not isinstance(row, Row):
        raise Outage("sync", f"an engine's answer cannot be trained on ({row})")
    found = learner.logprobs(row, {"probe": trajectory.images[0]})
    return float((found - torch.from_numpy(row.behaviour[row.sampled])).abs().mean())


def check(learner: Learner, policies: Sequence[Any], codec: Codec | None, version: int, *, trained: bool) -> float:
    """Largest gap over the engines, after weights `version` were published; `codec` on rank 0. `trained`: they differ
    from those that the engines began with. Raises Outage("sync", ...)."""
    ranks = learner.ranks
    found = answers(policies, codec, learner.config, version) if codec is not None else None
    played = ranks.scatter([found] * ranks.size if found is not None else None)
    assert played is not None
    largest = max((gap(learner, trajectory) for trajectory in played), key=lambda g: (g != g, g))
    bound = BOUNDS[learner.dtype]
    if not largest <= bound:  # nan is not, either
        family = learner.policy.hf.config.model_type
        cause = LATER if trained else FIRST
        raise Outage("sync", f"weights {version} of {family}: engine and learner are {largest:.2g} nats apart, "
                     f"at most {bound:g} is allowed; {cause}")  # fmt: skip
    return largest
