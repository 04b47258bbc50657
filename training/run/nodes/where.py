"""What of a run runs where, a node a line.

Guarantees: read from Ray's own table of living actors, so it is what is, not what was asked for.
"""

from collections import Counter

import ray

from training.run.nodes.room import alive, job_of

PARTS = {  # what an actor's class is called in the plan
    "PolicyEngine": "policy engine",
    "RayTrainWorker": "learner worker",
    "RenderWorker": "renderer",
    "VisualJudge": "judge",
    "Rollouts": "rollouts",
    "QueueState": "queue",
}


def placed() -> dict[str, Counter[str]]:
    """Address of a node -> this run's parts on it."""
    own = ray.get_runtime_context().get_job_id()
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    found: dict[str, Counter[str]] = {}
    for actor in alive():
        kind = PARTS.get((actor["ActorClassName"] or "").rpartition(":")[2])
        address = addresses.get(actor["Address"]["NodeID"])
        if kind is not None and address is not None and job_of(actor) == own:
            found.setdefault(address, Counter())[kind] += 1
    return found


def lines() -> list[str]:
    """`node 10.0.0.1: 2 x policy engine, 1 x queue`, sorted by address."""
    return [
        f"node {address}: {', '.join(f'{count} x {part}' for part, count in sorted(parts.items()))}"
        for address, parts in sorted(placed().items())
    ]
