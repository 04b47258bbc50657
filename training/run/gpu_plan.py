"""Whether a config fits GPUs that are not here: the memory of every part, seats and tokens in flight, and what starves.

Guarantees: starts nothing and needs neither the GPUs nor the models; every problem is one line that says what to set.
The figures are a model: weights and optimiser states are exact, activations are counted tensor by tensor for the packed
learner, an engine takes the share it is given. A plan that fills more than USABLE of a GPU is refused.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from configs.load import ConfigError
from configs.models import MODELS, Shape
from configs.schema import Config

GIB = 2**30
USABLE = 0.92  # of a GPU: the rest is CUDA's context, NCCL's buffers and fragments
BUCKETS = 2 * GIB  # vLLM's packed broadcast: two buffers of 1 GiB at the sender


@dataclass(frozen=True)
class Part:
    """Memory of one GPU of one part, in bytes."""

    name: str
    gpus: int  # of the whole part
    weights: float
    optimiser: float = 0.0  # gradients and AdamW's two averages
    activations: float = 0.0
    cache: float = 0.0

    @property
    def total(self) -> float:
        return self.weights + self.optimiser + self.activations + self.cache


def parse_gpus(text: str) -> tuple[int, float]:
    """`8x80` -> 8 GPUs of 80 GiB. Raises ConfigError."""
    count, _, size = text.partition("x")
    try:
        found = int(count), float(size)
    except ValueError:
        found = (0, 0.0)
    if found[0] < 1 or not found[1] > 0:
        raise ConfigError(f"--gpus {text}: give a number of GPUs and the GiB of one, like 8x80")
    return found


def shape_of(name: str) -> Shape:
    """Raises ConfigError where the size of the model is not known here."""
    if name not in MODELS:
        raise ConfigError(f"--gpus: the size of {name} is not known; known are {', '.join(MODELS)}")
    return MODELS[name]


def learner(c: Config, shape: Shape | None = None) -> Part:
    """One GPU of the learner: float32 weights, sharded by FSDP2, computed in bfloat16 layer by layer. `shape` stands
    for that of `policy.path`."""
    shape, workers = shape or shape_of(c.policy.path), c.learner.workers
    everything = shape.parameters
    trained = everything - (shape.vision if c.policy.freeze_vision else 0.0)
    if c.learner.lora_rank:
        widths = shape.head * (2 * shape.heads + 2 * shape.kv_heads) + 3 * shape.intermediate + 5 * shape.hidden
        trained = float(c.learner.lora_rank * shape.layers * widths)
        everything += trained
    reference = everything * 4 / workers if c.grpo.kl_beta and not c.learner.lora_rank else 0.0
    # bfloat16 copies in use: all where autocast keeps them, else embeddings and two layers, and a float32 gradient
    copies = 2 * everything if workers == 1 else 2 * shape.embeddings + 2 * 2 * shape.layer + 4 * shape.layer
    tokens = c.learner.token_budget
    # of one layer in bfloat16: input, two norms, q, k, v and what attention gives, gate, up and their product
    inside = 4 * shape.hidden + shape.head * (2 * shape.heads + 2 * shape.kv_heads) + 3 * shape.intermediate
    kept = shape.layers * shape.hidden + 2 * inside if c.learner.gradient_checkpointing else shape.layers * inside
    chunk = min(c.learner.logprob_chunk, tokens)
    logits = chunk * shape.vocabulary * 4 * 3  # float32 logits, their exponentials, their gradient
    sent = (BUCKETS if c.engine.sync != "host" else 0.0) + 2 * shape.vocabulary * shape.hidden
    return Part(
        "learner",
        c.learner.workers * c.learner.gpus,
        weights=4 * everything / workers + reference + copies,
        optimiser=(4 + 8) * trained / workers,
        activations=2 * tokens * kept + max(float(logits), sent),
    )


def engine(name: str, model: str, gpus: int, replicas: int, share: float, memory: float, batched: int) -> Part:
    """One GPU of an engine with tensor parallelism over `gpus`; what its share leaves is cache."""
    shape = shape_of(model)
    weights = 2 * shape.parameters / gpus
    activations = 2.0 * batched * (4 * shape.hidden + 3 * shape.intermediate / gpus) + 2 * GIB  # CUDA graphs, sampler
    return Part(name, gpus * replicas, weights, 0.0, activations, share * memory - weights - activations)


def parts(c: Config, memory: float) -> list[Part]:
    """All parts that use GPUs; `memory` in bytes of one."""
    e, j = c.engine, c.judge
    found = []
    if e.gpus:
        share = e.gpu_memory_utilization
        found.append(engine("policy", c.policy.path, e.gpus, e.replicas, share, memory, e.max_num_batched_tokens))
    if c.learner.gpus:
        found.append(learner(c))
    if j.asks_model and not j.url and j.gpus:
        found.append(engine("judge", j.model, j.gpus, j.replicas, 0.85, memory, 8192))
    return found


def gpu_plan(c: Config, count: int, gib: float) -> tuple[list[str], list[str]]:
    """(table and figures, problems) of a config on `count` GPUs of `gib` GiB."""
    memory = gib * GIB
    found = parts(c, memory)
    shared = c.engine.sync == "host" and c.engine.gpus > 0
    lines = [f"on {count} GPUs of {gib:g} GiB (GiB of one GPU):"]
    lines += [f"  {'part':8} {'GPUs':>4} {'weights':>8} {'optimiser':>9} {'activations':>11} {'cache':>6} {'all':>6}"]
    for p in found:
        figures = [x / GIB for x in (p.weights, p.optimiser, p.activations, p.cache, p.total)]
        lines.append("  {:8} {:4d} {:8.1f} {:9.1f} {:11.1f} {:6.1f} {:6.1f}".format(p.name, p.gpus, *figures))
    if not found:
        return [*lines, "  no part of this config uses a GPU"], []
    loads = {p.name: p.total for p in found}
    if shared:
        loads = {name: load for name, load in loads.items() if name == "judge"}
        loads["policy and learner"] = sum(p.total for p in found if p.name != "judge")
    tightest = max(loads, key=lambda name: loads[name])
    lines.append(f"  tightest: {tightest}, {loads[tightest] / GIB:.1f} of {USABLE * gib:.1f} usable GiB")
    need = sum(p.gpus for p in found) - (1 if shared else 0)
    problems = [f"this config needs {need} GPUs, {count} are given"] if need > count else []
    problems += _memory(c, found, memory, shared, count - need)
    lines += list(_flow(c, found))
    return lines, problems


def _memory(c: Config, found: Sequence[Part], memory: float, shared: bool, spare: int) -> Iterator[str]:
    usable = USABLE * memory
    beside = 0.0
    for p in found:
        if p.name == "learner":
            if p.total + beside > usable:
                yield (
                    f"learner: {(p.total + beside) / GIB:.1f} GiB do not fit {usable / GIB:.1f} usable ones; "
                    f"{_relief(c, usable - beside, shared, spare)}"
                )
            continue
        beside = p.total if shared and p.name == "policy" else 0.0
        e = c.engine
        longest = (e.max_model_len if p.name == "policy" else c.judge.max_model_len) * (
            shape_of(c.policy.path if p.name == "policy" else c.judge.model).cache_bytes
            / (p.gpus / _replicas(c, p.name))
        )
        if p.cache < longest:
            key = "engine" if p.name == "policy" else "judge"
            yield (
                f"{p.name}: {p.weights / GIB:.1f} GiB of weights leave {max(0.0, p.cache) / GIB:.1f} GiB of cache, one "
                f"sequence needs {longest / GIB:.1f}; raise {key}.gpus, or take a smaller model"
            )


def _replicas(c: Config, name: str) -> int:
    return c.engine.replicas if name == "policy" else c.judge.replicas


def _relief(c: Config, room: float, shared: bool, spare: int) -> str:
    """The first settings that make the learner fit `room` bytes, cheapest first, on the GPUs that are given: `spare` of
    them are unused, engines of the policy may give away theirs."""
    floor = c.sampling.max_trajectory_tokens
    changes: list[tuple[str, dict[str, int | bool]]] = []
    chosen: dict[str, int | bool] = {}
    if not c.learner.gradient_checkpointing:
        changes.append(("learner.gradient_checkpointing=true", {"gradient_checkpointing": True}))
    if c.learner.logprob_chunk > 1024:
        changes.append(("learner.logprob_chunk=1024", {"logprob_chunk": 1024}))
    if c.learner.token_budget > floor:
        changes.append((f"learner.token_budget={floor}", {"token_budget": floor}))
    changed = []
    for words, change in changes:
        chosen |= change
        changed.append(words)
        if learner(replace(c, learner=replace(c.learner, **chosen))).total <= room:  # type: ignore[arg-type]
            return "set " + " ".join(changed)
    if shared:
        over = learner(replace(c, learner=replace(c.learner, **chosen))).total - room  # type: ignore[arg-type]
        share = c.engine.gpu_memory_utilization * (1 - over / (room + over))
        return "set " + " ".join([*changed, f"engine.gpu_memory_utilization={max(0.1, math.floor(20 * share) / 20):g}"])
    for more in range(1, spare + (c.engine.replicas - 1) * c.engine.gpus + 1):
        chosen["workers"] = c.learner.workers + more
        if learner(replace(c, learner=replace(c.learner, **chosen))).total <= room:  # type: ignore[arg-type]
            changed.append(f"learner.workers={chosen['workers']}")
            if (taken := math.ceil((more - spare) / max(1, c.engine.gpus))) > 0:
                changed.append(f"engine.replicas={c.engine.replicas - taken}")
            return "set " + " ".join(changed)
    if not c.learner.lora_rank:
        chosen |= {"workers": c.learner.workers, "lora_rank": 32}
        if learner(replace(c, learner=replace(c.learner, **chosen))).total <= room:  # type: ignore[arg-type]
            return "set " + " ".join([*changed, "learner.lora_rank=32"])
    return "take a smaller model, or more GPUs"


def _flow(c: Config, found: Sequence[Part]) -> Iterator[str]:
    """Seats, tokens in flight, and what will wait for what."""
    members = c.rollout.actors * c.rollout.concurrency * c.rollout.group_size
    batch = c.queue.groups_per_step * c.rollout.group_size
    ahead = (c.queue.max_staleness + 1) * batch
    yield f"  in flight: {members} trajectories, {members * c.sampling.max_trajectory_tokens:,} tokens at most"
    if members > ahead:
        yield f"  rollouts wait for the learner: at most {ahead} trajectories may be ahead (queue.max_staleness)"
    for p in found:
        if p.name == "policy":
            seats = c.engine.replicas * c.engine.max_num_seqs
            fit = p.cache * p.gpus / shape_of(c.policy.path).cache_bytes
            yield f"  policy: {seats} seats, cache for {fit:,.0f} tokens"
            if members * c.sampling.max_trajectory_tokens / 2 > fit:
                yield "  policy starves for cache: half-full trajectories do not fit; vLLM will preempt and recompute"
            if members < seats / 4:
                yield f"  policy is idle at times: {members} trajectories for {seats} seats (rollout.concurrency)"
    if c.judge.asks_model:
        places = c.judge.replicas * c.judge.concurrency
        if places < members / 4:
            yield f"  judge starves rollouts: {places} questions at once for {members} trajectories (judge.concurrency)"
    if c.learner.gpus:
        whole = shape_of(c.policy.path).parameters
        size = (2 * whole + 12 * whole) / 1e9 if not c.learner.lora_rank else 2 * whole / 1e9
        yield (
            f"  checkpoint: {size:.0f} GB, {size / c.learner.workers:.0f} a worker: "
            f"{math.ceil(size / 2)} s at 2 GB/s, beside the training"
        )
