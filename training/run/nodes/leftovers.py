"""Nothing outlives its run: Serve keeps an application until somebody deletes it, whatever became of its driver.

Guarantees: applications of a run are deleted within a minute after its driver is gone, however it went, by an actor
that belongs to nobody and watches the driver; where that one is gone as well, at the next start.
"""

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve

from training.run.nodes.room import NAMESPACE, OURS

POLL_S = 3.0
DELETE_S = 20.0  # for Serve to take applications down


def remove_leftovers() -> list[str]:
    """Delete the applications of runs whose driver is gone; their names."""
    over = {job["JobID"] for job in ray._private.state.jobs() if job["IsDead"]}  # type: ignore[attr-defined]
    try:
        names = list(serve.status().applications)
    except ray.exceptions.RayError:
        return []
    gone = [name for name in names if (found := OURS.fullmatch(name)) and found["job"] in over]
    delete(gone)
    return gone


def delete(names: Sequence[str]) -> None:
    """All at once, because one takes seconds and `ray job stop` kills a driver after three."""
    for name in names:
        serve.delete(name, _blocking=False)
    deadline = time.monotonic() + DELETE_S
    while set(names) & set(serve.status().applications) and time.monotonic() < deadline:
        time.sleep(0.1)


class Caretaker:
    """Waits for the end of a job, deletes its applications, and ends."""

    def __init__(self, job: str, name: str) -> None:
        self._job, self._name = job, name
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def up(self) -> bool:
        return True

    def _watch(self) -> None:
        while not any(j["JobID"] == self._job and j["IsDead"] for j in ray._private.state.jobs()):  # type: ignore[attr-defined]
            time.sleep(POLL_S)
        with contextlib.suppress(ray.exceptions.RayError):
            remove_leftovers()
        ray.kill(ray.get_actor(self._name, NAMESPACE))


def appoint() -> Any:
    """A caretaker for this driver's applications; kill it when they are deleted."""
    job = ray.get_runtime_context().get_job_id()
    name = f"rrvf-caretaker-{job}"
    made: Any = ray.remote(num_cpus=0, max_restarts=-1)(Caretaker)
    actor = made.options(name=name, namespace=NAMESPACE, lifetime="detached").remote(job, name)
    ray.get(actor.up.remote(), timeout=60)
    return actor
