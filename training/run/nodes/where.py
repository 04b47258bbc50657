"""What of a run runs where, a node a line.

Guarantees: read from Ray's own table of living actors, so it is what is, not what was asked for.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import ray

from actors.files import write_whole
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


def lines(found: Mapping[str, Counter[str]]) -> list[str]:
    """`node 10.0.0.1: 2 x policy engine, 1 x queue`, sorted by address."""
    return [
        f"node {address}: {', '.join(f'{count} x {part}' for part, count in sorted(parts.items()))}"
        for address, parts in sorted(found.items())
    ]


def record(found: Mapping[str, Counter[str]], folder: Path) -> None:
    """For the viewer: nodes.jsonl of a run's folder, a node a line, whole or as it was before. A disk that takes
    nothing costs this record alone."""
    rows = [{"node": address, "parts": dict(sorted(parts.items()))} for address, parts in sorted(found.items())]
    with contextlib.suppress(OSError):
        write_whole(folder / "nodes.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
