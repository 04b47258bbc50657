"""What has to hold between settings that are each allowed: sizes that fit, choices that make sense together.

Guarantees: every sentence names the keys at fault and their values, and says what to change; a config that was loaded
keeps all of it. Relations to a machine (its GPUs, its disk) are checked where it is known (training.run.preflight).
"""

from collections.abc import Iterator

from configs.domains import Unusable, find
from configs.schema import Config


def broken(c: Config) -> Iterator[str]:
    """One line for each relation that does not hold."""
    try:
        domain = find(c.data.domain)
    except Unusable as error:
        yield f"data.domain={c.data.domain}: {error.reason}"
    else:
        if c.data.images == "drawn" and not domain.shipped_pictures and domain.example is None:
            yield f"data.domain={c.data.domain} needs pictures of its own: data.images=DIR (it draws no examples)"
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
    if c.judge.url and c.judge.backend == "perceptual":
        yield f"judge.url={c.judge.url} is asked with judge.backend=mllm only, not with judge.backend=perceptual"
    engine, learner = c.engine, c.learner
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
