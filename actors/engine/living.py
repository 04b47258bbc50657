"""Which policy actors answer just now: one that died, or is being started again, does not.

Guarantees: asking takes at most ANSWER_S, however many are gone, as long as one answers; the answers are in the order
of the actors.
"""

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import ray

ANSWER_S = 10.0  # an actor that is up answers at once, but on a busy machine
AGAIN_S = 0.5  # between two questions to actors of which none is up


def answering(policies: Sequence[Any], method: str, limit_s: float) -> list[tuple[Any, Any]]:
    """(actor, what its `method` says) of those that answer; where none does, the first that does within `limit_s`."""
    deadline = time.monotonic() + limit_s
    while True:
        calls = {getattr(p, method).options(max_task_retries=0).remote(): p for p in policies}
        left_s = max(0.0, deadline - time.monotonic())
        done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=min(ANSWER_S, left_s))
        if not done:
            done, _ = ray.wait(list(calls), num_returns=1, timeout=max(0.0, left_s - ANSWER_S))
        found = []
        for call, policy in calls.items():
            if call in done:
                with contextlib.suppress(ray.exceptions.RayActorError):
                    found.append((policy, ray.get(call)))
        # who was asked in the moment of its death failed at once: it is asked again, for it may be started again
        if found or not policies or time.monotonic() >= deadline:
            return found
        time.sleep(AGAIN_S)
