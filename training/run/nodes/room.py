"""Whether a run's parts fit a cluster's nodes: asked before anything is started, and waited for in words.

Guarantees: a part only fits where one node has room for it, not the sum of several, and the labels that it asks for
(`cluster.place`); waiting has a deadline (`cluster.room_s`) and names every WORD_S seconds who waits for what, what is
free and who holds the rest; an autoscaler gets what is missing; of several runs on one cluster one starts at a time,
so that none takes half of another's room.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.util import placement_group_table

from actors.contracts import Outage
from configs.load import ConfigError
from configs.places import fits, selector
from configs.schema import Config

WORD_S = 10.0
LOOK_S = 1.0
LEARNER, ENGINE = "learner worker", "policy engine"
TURN, NAMESPACE = "rrvf-starting", "rrvf"
UNPLACED = ("PENDING", "RESCHEDULING")  # states of a placement group: without room yet, or whose node has died
HOLD_NOTHING = (  # actors that take no room
    "JobSupervisor", "ServeController", "Holder", "Caretaker", "_AutoscalingCoordinatorActor", "PlacementGroupCleaner",
)  # fmt: skip
OURS = re.compile(r"rrvf-(?P<run>.+)-(?P<job>[0-9a-f]{8})-(render|judge)")  # Serve applications of runs
Resources = Mapping[str, float]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Demand:
    """What one process of a part asks of a node: resources, and labels (`configs.places`)."""

    part: str
    need: Resources
    where: str = ""

    def __str__(self) -> str:
        labels = f"on a node with {self.where}" if self.where else ""
        return f"{self.part} ({' '.join(filter(None, (_words(self.need) if self.need else '', labels)))})"


def demands(c: Config, only: str = "") -> list[Demand]:
    """One for each process that asks for something, largest first; of all parts, or `only` one."""
    shared = 0.5 if c.engine.gpus and c.engine.sync == "host" else 1.0
    own_judge = c.judge.backend == "mllm" and not c.judge.url
    place = c.cluster.place
    judge = {"CPU": c.judge.cpus, "GPU": float(c.judge.gpus) if own_judge else 0.0}
    found = [
        *[Demand(ENGINE, {"CPU": c.engine.cpus, "GPU": shared * c.engine.gpus}, place.engines)] * c.engine.replicas,
        *[Demand("judge", judge, place.judge)] * c.judge.replicas,
        *[Demand(LEARNER, {"CPU": c.learner.cpus, "GPU": shared * c.learner.gpus}, place.learner)] * c.learner.workers,
        *[Demand("renderer", {"CPU": c.renderers.cpus, "GPU": 0.0}, place.renderers)] * c.renderers.replicas,
        # these ask for no resources; without labels any node will do
        *[Demand("rollout actor", {}, place.rollouts)] * (c.rollout.actors if place.rollouts else 0),
        *[Demand("queue", {}, place.queue)] * bool(place.queue),
    ]
    chosen = [demand for demand in found if only in ("", demand.part)]
    return sorted(chosen, key=lambda demand: (-demand.need.get("GPU", 0.0), -demand.need.get("CPU", 0.0)))


def left_over(
    parts: Sequence[Demand], nodes: Mapping[str, Resources], labels: Mapping[str, Mapping[str, str]] | None = None
) -> Counter[str]:
    """Parts that find no node, first fit by size; `labels` by node, none where they are not known."""
    free = {name: dict(have) for name, have in nodes.items()}
    missing: Counter[str] = Counter()
    for demand in parts:
        for name, have in free.items():
            enough = all(have.get(kind, 0.0) + 1e-6 >= amount for kind, amount in demand.need.items())
            if enough and fits(demand.where, (labels or {}).get(name, {})):
                for kind, amount in demand.need.items():
                    have[kind] = have.get(kind, 0.0) - amount
                break
        else:
            missing[str(demand)] += 1
    return missing


def no_room(config: Config) -> str | None:
    """One line about the parts that no node could hold even if nothing else ran; None where all fit."""
    if missing := left_over(demands(config), _nodes(_total()), _labels()):
        return f"no room on any node for {beside(demands(config), missing)}; {'; '.join(free_lines())}"
    return None


def beside(parts: Sequence[Demand], missing: Counter[str]) -> str:
    """The parts that find no node, and what the run's others take that were placed before the last of them."""
    left, taken = missing.copy(), dict[str, float]()
    last = max((number for number, demand in enumerate(parts) if missing[str(demand)]), default=-1)
    for demand in parts[: last + 1]:
        if left[str(demand)]:
            left[str(demand)] -= 1
            continue
        for kind, amount in demand.need.items():
            taken[kind] = taken.get(kind, 0.0) + amount
    return _counted(missing) + (f" beside the run's other parts ({_words(taken)})" if any(taken.values()) else "")


def free_lines() -> list[str]:
    """A line for each node: what is free of what it has."""
    free, total = _nodes(_free()), _nodes(_total())
    return [
        f"node {name}: free {_words(free.get(name, {}))} of {_words(have)}"
        for name, have in total.items()
        if any(have.values())
    ]


class Turn:
    """The right to start parts on a cluster that others use as well; it ends with this process at the latest."""

    def __init__(self) -> None:
        """Raises ValueError while another run has it."""

        class Holder:
            """An actor whose name is the right."""

        actor = ray.remote(num_cpus=0)(Holder)
        self._held: Any = actor.options(name=TURN, namespace=NAMESPACE).remote()

    def release(self) -> None:
        """Everything is placed; may be called again."""
        if self._held is not None:
            request_resources(bundles=[])
            ray.kill(self._held)
            self._held = None


def wait_for_room(config: Config, say: Say, only: str = "") -> Turn:
    """Return when it is this run's turn and every part (or `only` one) fits what is free; release the turn when they
    are placed. Raises Outage("start", ...) after `cluster.room_s`, ConfigError at once where that is 0."""
    limit, began = config.cluster.room_s, time.monotonic()
    turn: Turn | None = None
    parts, asked, reported = demands(config, only), False, began
    while True:
        if turn is None:
            try:
                turn = Turn()
            except ValueError:
                line = f"another run is starting{_holders()}"
        if turn is not None:
            missing = left_over(parts, _nodes(_free()), _labels())
            if not missing:
                return turn
            line = f"no room for {beside(parts, missing)}; {'; '.join(free_lines())}{_holders()}"
            if not asked:
                asking = [demand for demand in parts if any(demand.need.values())]
                request_resources(
                    bundles=[{kind: amount for kind, amount in demand.need.items() if amount} for demand in asking],
                    bundle_label_selectors=[selector(demand.where) for demand in asking],
                )
                asked = True
        if limit == 0 or time.monotonic() - began > limit:
            if turn is not None:
                turn.release()
            if limit == 0:
                raise ConfigError(f"{line} (cluster.room_s=SECONDS waits)")
            raise Outage("start", f"after {limit:g} s (cluster.room_s): {line}")
        if time.monotonic() - reported > WORD_S:
            say(f"waiting: {line}")
            reported = time.monotonic()
        time.sleep(LOOK_S)


class Placing:
    """Watches a part that has been asked for: the room that was found for it may be gone with its node."""

    def __init__(self, config: Config, part: str, say: Say) -> None:
        self._config, self._part, self._say = config, part, say
        self._since: float | None = None
        self._reported = 0.0

    def look(self) -> None:
        """To be called until the part is placed. Raises Outage("start", ...) after `cluster.room_s` without room."""
        if not any(group["state"] in UNPLACED for group in placement_group_table().values()):
            self._since = None
            return
        now = time.monotonic()
        if self._since is None:
            self._since = self._reported = now
        limit = max(self._config.cluster.room_s, WORD_S)
        if now - self._reported > WORD_S or now - self._since > limit:
            missing = Counter(map(str, demands(self._config, self._part)))
            line = f"no room for {_counted(missing)}; {'; '.join(free_lines())}{_holders()}"
            if now - self._since > limit:
                raise Outage("start", f"after {limit:g} s (cluster.room_s): {line}")
            self._say(f"waiting: {line}")
            self._reported = now


def room_for_one(config: Config, part: str) -> bool:
    """Whether one more process of a part fits what is free, and no run waits for its start."""
    try:
        ray.get_actor(TURN, NAMESPACE)
        return False
    except ValueError:
        return not left_over(demands(config, part)[:1], _nodes(_free()), _labels())


def job_of(actor: Mapping[str, Any]) -> str:
    """The job whose run an actor belongs to: Serve's replicas carry it in their application's name."""
    found = OURS.search(actor["ActorClassName"] or "")
    return found["job"] if found else actor["JobID"]


def alive() -> list[dict[str, Any]]:
    """Ray's table of the actors that are alive."""
    return [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]  # type: ignore[attr-defined]


def _holders() -> str:
    """Who else is on the cluster: jobs with how they were started and how many actors of each kind they have."""
    own = ray.get_runtime_context().get_job_id()
    by_job: dict[str, Counter[str]] = {}
    for actor in alive():
        kind = (actor["ActorClassName"] or "actor").rpartition(":")[2]
        if job_of(actor) != own and kind not in HOLD_NOTHING:
            by_job.setdefault(job_of(actor), Counter())[kind] += 1
    entries = {job["JobID"]: job.get("Entrypoint") or "a driver" for job in ray._private.state.jobs()}  # type: ignore[attr-defined]
    lines = [f"job {job} ({entries.get(job, '?')[:120]}): {_counted(kinds)}" for job, kinds in by_job.items()]
    return f"; held by {', '.join(lines)}" if lines else ""


def _total() -> Mapping[str, Resources]:
    return ray._private.state.total_resources_per_node()  # type: ignore[attr-defined,no-any-return]


def _free() -> Mapping[str, Resources]:
    return ray._private.state.available_resources_per_node()  # type: ignore[attr-defined,no-any-return]


def _named() -> dict[str, dict[str, Any]]:
    """The living nodes by address; several of one address differ by their id."""
    found: dict[str, dict[str, Any]] = {}
    for node in ray.nodes():
        if node["Alive"]:
            address = node["NodeManagerAddress"]
            found[address if address not in found else f"{address} {node['NodeID'][:6]}"] = node
    return found


def _nodes(by_id: Mapping[str, Resources]) -> dict[str, dict[str, float]]:
    """CPUs and GPUs of the living nodes, by name."""
    return {
        name: {kind: by_id[node["NodeID"]].get(kind, 0.0) for kind in ("CPU", "GPU")}
        for name, node in _named().items()
        if node["NodeID"] in by_id
    }


def _labels() -> dict[str, dict[str, str]]:
    return {name: node["Labels"] for name, node in _named().items()}


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in found.most_common(6))


def _words(have: Resources) -> str:
    parts = [f"{amount:g} {kind}" for kind, amount in have.items() if amount]
    return " and ".join(parts) or "nothing"
