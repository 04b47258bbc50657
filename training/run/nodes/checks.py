"""What every node of a cluster has to see and to have: the run's folder, its inputs, the jail.

Guarantees: a folder counts as shared when what was written there here was read on every other node; every problem is
one line that names the nodes, and a node that dies while it is asked is none; nothing is left in the folder.
"""

import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from configs.load import ConfigError
from configs.schema import Config

ANSWER_S = 60.0  # for every node to look
DEATH_S = 40.0  # within which Ray marks a node that has died: five health checks are missed first


def prove_shared(folder: Path, inputs: Sequence[str] = (), config: Config | None = None) -> None:
    """Write to `folder` here and read it on every other node, which also looks for the files `inputs` and, with
    `config`, for what its renderers need. Raises ConfigError with a line for each problem, after ANSWER_S + DEATH_S at
    most: a node without an answer is given the time in which its death would be noticed."""
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    if not others:
        return
    proof, word = folder / f".proof-{uuid.uuid4().hex}", uuid.uuid4().hex
    proof.write_text(word)
    problems: dict[str, list[str]] = {}
    failed: dict[str, tuple[str, str]] = {}  # by node: why it gave no answer, and its address
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(_look)
        calls = {}
        for node in others:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            renders = config if node["Resources"].get("CPU") else None
            call = look.options(scheduling_strategy=there).remote(str(proof), word, list(inputs), renders)
            calls[call] = node["NodeID"], node["NodeManagerAddress"]
        ray.wait(list(calls), num_returns=len(calls), timeout=ANSWER_S)
        for call, (node_id, address) in calls.items():
            try:
                for problem in ray.get(call, timeout=0):
                    problems.setdefault(problem, []).append(address)
            except ray.exceptions.GetTimeoutError:
                failed[node_id] = f"no answer within {ANSWER_S:g} s", address
            except ray.exceptions.RayError as error:
                failed[node_id] = str(error).strip().splitlines()[-1], address
        for problem, address in (failed[node_id] for node_id in _living(set(failed))):
            problems.setdefault(problem, []).append(address)
    finally:
        proof.unlink(missing_ok=True)
    if problems:
        raise ConfigError(*[f"{_where(nodes, len(others))}: {problem}" for problem, nodes in problems.items()])


def _living(nodes: set[str]) -> set[str]:
    """Those of `nodes` that are still alive when a death would have been noticed."""
    deadline = time.monotonic() + DEATH_S
    while True:
        left = nodes & {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(1)


def _where(nodes: Sequence[str], of: int) -> str:
    return f"on {len(nodes)} of {of} other node(s) ({', '.join(nodes[:5])})"


def _look(proof: str, word: str, inputs: Sequence[str], config: Config | None) -> list[str]:
    """Problems of the node that this runs on."""
    found = []
    if _read(proof) != word:
        found.append(
            f"{Path(proof).parent} is not shared; a run's parts read and write there: set run.dir=PATH to a folder "
            "that all nodes mount"
        )
    else:
        found += [f"{path} is not there; put it where all nodes mount it" for path in inputs if not Path(path).exists()]
    if config is not None:
        from serving.render.sandbox import MissingLayer, active_layers

        try:
            active_layers(config.render.sandbox.allow_missing)
        except MissingLayer as error:
            found.append(str(error))
    return found


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
