"""A plan from a config and stated figures of a GPU, where there is no run to learn from yet.

Guarantees: every figure that is assumed is a field with its unit here; nothing is measured. Decoding is bound by
memory: a step reads the weights once and every sequence's cache (Pope et al., arXiv 2211.05102). Prompts and learning
are bound by arithmetic: 2 FLOP a parameter and token forward, 6 with the backward pass, 8 with recomputed activations.
"""

import math
import random
from dataclasses import dataclass

from configs.load import ConfigError
from configs.models import MODELS, Shape
from configs.schema import Config
from serving.capacity.simulate import Member, Plan, Station

MEMBERS = 4000  # drawn once, then sampled from


@dataclass(frozen=True)
class Gpu:
    """Peak of one GPU by its data sheet, and the shares of it that are reached."""

    flops: float  # dense bfloat16, FLOP/s
    bandwidth: float  # bytes/s of its memory
    decode_share: float = 0.6  # of the bandwidth
    prefill_share: float = 0.4  # of the arithmetic
    learn_share: float = 0.35  # model FLOP utilisation of the learner
    network: float = 20e9  # bytes/s at which weights reach an engine


GPUS = {
    "H100": Gpu(989e12, 3.35e12),
    "H200": Gpu(989e12, 4.8e12),
    "A100": Gpu(312e12, 2.04e12),
    "B200": Gpu(2250e12, 8.0e12),
}


@dataclass(frozen=True)
class Shown:
    """What trajectories are like: sampled tokens of a turn and a verdict's are lognormal."""

    prompt: float = 1700.0  # tokens: a picture of 1280 and the instructions
    feedback: float = 150.0  # tokens
    turn: float = 350.0  # tokens, median
    turn_sigma: float = 0.8
    early: float = 0.2  # chance that a turn before the last answers
    verdict: float = 120.0  # tokens, median
    verdict_sigma: float = 0.5
    verdict_prompt: float = 2800.0  # tokens: two pictures
    render_s: float = 1.0  # a tenth of the programs take four times that
    compare_s: float = 0.3  # of the perceptual judge


def plan_of(c: Config, gpu: Gpu, shown: Shown = Shown()) -> Plan:
    """Raises ConfigError where a model's size is not known."""
    policy = shape_of(c.policy.path)
    rng = random.Random(c.run.seed)
    own = c.judge.backend == "mllm" and not c.judge.url
    members = tuple(_member(c, shown, rng, own) for _ in range(MEMBERS))
    tokens = sum(sum(turn[0] for turn in m) for m in members) / MEMBERS
    turns = sum(len(m) for m in members) / MEMBERS
    context = shown.prompt + tokens / 2 + shown.feedback * (turns - 1) / 2
    prompts = shown.prompt + shown.feedback * (turns - 1)  # computed anew: earlier turns are cached
    engine = _engine(policy, gpu, max(1, c.engine.gpus), context, prompts / tokens)
    batch = c.queue.groups_per_step * c.rollout.group_size * (tokens + prompts)
    flop = (8 if c.learner.gradient_checkpointing else 6) * policy.parameters * batch
    if own:
        a, b = _engine(
            shape_of(c.judge.model), gpu, c.judge.gpus, shown.verdict_prompt, shown.verdict_prompt / shown.verdict
        )
        judge = Station(c.judge.replicas, c.judge.concurrency, a, b)
    else:
        judge = Station(c.judge.replicas, c.judge.concurrency if c.judge.url else 1)
    return Plan(
        engine=Station(c.engine.replicas, c.engine.max_num_seqs, *engine),
        render=Station(c.renderers.max_replicas, c.renderers.concurrency),
        judge=judge,
        members=members,
        slots=c.rollout.actors * c.rollout.concurrency,
        group_size=c.rollout.group_size,
        groups_per_step=c.queue.groups_per_step,
        max_staleness=c.queue.max_staleness,
        update_s=flop / (c.learner.workers * gpu.flops * gpu.learn_share),
        sync_s=1.0 + 2 * policy.parameters / gpu.network,
        pause_s=0.5,
    )


def gpus_of(c: Config) -> int:
    """GPUs of the whole layout."""
    own = c.judge.backend == "mllm" and not c.judge.url
    learner = 0 if c.engine.sync == "host" else c.learner.workers * c.learner.gpus
    return c.engine.replicas * c.engine.gpus + learner + (c.judge.replicas * c.judge.gpus if own else 0)


def shape_of(name: str) -> Shape:
    if name not in MODELS:
        raise ConfigError(f"the size of {name} is not known; known are {', '.join(MODELS)}")
    return MODELS[name]


def _engine(shape: Shape, gpu: Gpu, gpus: int, context: float, prompt_share: float) -> tuple[float, float]:
    """(a, b) of seconds a token = a + b n. `context`: tokens of cache that a sequence reads, `prompt_share`: tokens of
    prompt computed for each sampled one."""
    read = gpu.bandwidth * gpu.decode_share * gpus
    prefill = 2 * shape.parameters * prompt_share / (gpu.flops * gpu.prefill_share * gpus)
    return 2 * shape.parameters / read, shape.cache_bytes * context / read + prefill


def _member(c: Config, shown: Shown, rng: random.Random, own: bool) -> Member:
    turns = []
    last = c.rollout.max_turns - 1
    for number in range(c.rollout.max_turns):
        tokens = min(float(c.sampling.max_tokens), rng.lognormvariate(math.log(shown.turn), shown.turn_sigma))
        judge = rng.lognormvariate(math.log(shown.verdict), shown.verdict_sigma) if own else shown.compare_s
        turns.append((tokens, shown.render_s * (4 if rng.random() < 0.1 else 1), judge, 0.0))
        if number < last and rng.random() < shown.early:
            break
    return tuple(turns)
