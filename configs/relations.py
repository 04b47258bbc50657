"""What has to hold between settings that are each allowed: sizes that fit, choices that make sense together.

Guarantees: every sentence names the keys at fault and their values, and says what to change; a config that was loaded
keeps all of it. Relations to a machine (its GPUs, its disk) are checked where it is known (training.run.preflight).
"""

from collections.abc import Iterator

from configs import places
from configs.domains import find
from configs.outside import Unusable, defines
from configs.schema import Config

BACKENDS = ("perceptual", "mllm", "attributes", "embedding")  # that a blend may have as parts


def broken(c: Config) -> Iterator[str]:
    """One line for each relation that does not hold."""
    try:
        domain = find(c.data.domain)
    except Unusable as error:
        yield f"data.domain={c.data.domain}: {error.reason}"
    else:
        if c.data.images == "drawn" and not domain.shipped_pictures and domain.example is None:
            yield f"data.domain={c.data.domain} needs pictures of its own: data.images=DIR (it draws no examples)"
    yield from _judged(c)
    for part, where in vars(c.cluster.place).items():
        if isinstance(where, str) and len(places.parse(where)) < len(list(filter(None, where.split(",")))):
            yield f"cluster.place.{part}={where} names one label twice; join its values with |"
    longest = c.sampling.max_trajectory_tokens
    if longest > c.engine.max_model_len:
        yield f"sampling.max_trajectory_tokens={longest} does not fit engine.max_model_len={c.engine.max_model_len}"
    if c.sampling.max_tokens > c.engine.max_model_len:
        yield f"sampling.max_tokens={c.sampling.max_tokens} does not fit engine.max_model_len={c.engine.max_model_len}"
    if longest > c.learner.token_budget:
        yield f"sampling.max_trajectory_tokens={longest} does not fit learner.token_budget={c.learner.token_budget}"
    batch, parts = c.queue.groups_per_step * c.rollout.group_size, c.learner.workers * c.learner.updates
    if batch < parts:
        yield (
            f"queue.groups_per_step={c.queue.groups_per_step} of rollout.group_size={c.rollout.group_size} are {batch} "
            f"trajectories: too few for learner.workers={c.learner.workers} times learner.updates={c.learner.updates}"
        )
    if c.queue.max_staleness and c.grpo.proximal == "learner" and c.grpo.importance == "off":
        yield (
            f"queue.max_staleness={c.queue.max_staleness} with grpo.proximal=learner and grpo.importance=off learns "
            "from old trajectories as if they were new; use grpo.importance=truncate, or queue.max_staleness=0"
        )
    if c.judge.asks_model and not c.judge.url and not c.judge.model:
        yield f"judge.backend={c.judge.backend} needs a model: judge.model=MODEL, or judge.url=ADDRESS"
    if c.judge.url and not c.judge.asks_model:
        yield f"judge.url={c.judge.url} is asked with judge.backend=mllm only, not with judge.backend={c.judge.backend}"
    engine, learner = c.engine, c.learner
    if 0 < engine.max_replicas < engine.replicas:
        yield f"engine.max_replicas={engine.max_replicas} is less than engine.replicas={engine.replicas}"
    if engine.sync == "host" and engine.gpus and engine.max_replicas > 1:
        yield f"engine.max_replicas={engine.max_replicas}: one engine alone shares the learner's GPU (engine.sync=host)"
    if engine.gpus and engine.sync == "host":
        if not engine.replicas == engine.gpus == learner.workers == learner.gpus == 1:
            yield (
                f"engine.sync=host is for one engine and one learner worker on one GPU, not engine.replicas="
                f"{engine.replicas} engine.gpus={engine.gpus} learner.workers={learner.workers} "
                f"learner.gpus={learner.gpus}"
            )
        if engine.gpu_memory_utilization > 0.5:
            yield (
                f"engine.gpu_memory_utilization={engine.gpu_memory_utilization:g} leaves too little of the GPU for the "
                "learner beside it (engine.sync=host); at most 0.5"
            )
    limits = c.render.sandbox
    if limits.cpu_s > limits.wall_s:
        yield f"render.sandbox.cpu_s={limits.cpu_s:g} is more than render.sandbox.wall_s={limits.wall_s:g}"
    if limits.wall_s > c.render.deadline_s:
        yield f"render.sandbox.wall_s={limits.wall_s:g} is more than render.deadline_s={c.render.deadline_s:g}"


def _judged(c: Config) -> Iterator[str]:
    """What the user's own judge and reward lack, and what a blend is made of."""
    judge = c.judge
    if judge.backend == "blend":
        try:
            parts = [name for name, _ in parts_of(judge.blend)]
        except ValueError as error:
            yield f"judge.blend={judge.blend}: {error}"
            return
        for part in parts:
            if part == "blend" or (part not in BACKENDS and not part.endswith(".py") and ".py:" not in part):
                yield f"judge.blend={judge.blend}: no backend {part}; there are {', '.join(BACKENDS)}, and FILE.py:NAME"
    else:
        parts = [judge.backend]
        if judge.blend:
            yield f"judge.blend={judge.blend} is for judge.backend=blend, not for judge.backend={judge.backend}"
    if "embedding" in parts and not judge.embedder:
        yield "judge.backend=embedding needs the folder of a vision model: judge.embedder=DIR"
    own = [("judge.blend" if judge.backend == "blend" else "judge.backend", part) for part in parts if ".py:" in part]
    for key, name in (*own, *([("reward.function", c.reward.function)] if c.reward.function else [])):
        try:
            defines(name)
        except Unusable as error:
            yield f"{key}={name}: {error.reason}"


def parts_of(blend: str) -> list[tuple[str, float]]:
    """(backend, weight) of each part of a setting like "perceptual=0.7, embedding=0.3". Raises ValueError."""
    found = []
    for part in blend.split(","):
        name, equals, weight = part.strip().rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            number = 0.0
        if not (name.strip() and equals and 0 < number < 1e6):
            raise ValueError(f"`{part.strip()}`: must be BACKEND=WEIGHT, with a weight above 0")
        found.append((name.strip(), number))
    return found
