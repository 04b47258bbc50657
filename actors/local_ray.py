"""A Ray of our own on this machine.

Guarantees: it is up on return, or there is an Outage that says why; on a machine so busy that Ray's own processes miss
Ray's limits (30 s for a raylet and its agents) it is started again, with a line that says so and nothing left of the
one before.
"""

import sys
from typing import Any

import ray

from actors.contracts import Outage
from configs.command import heed_signals

TRIES = 4


def start(cpus: int, **options: Any) -> None:
    """`ray.init` of a cluster of this machine alone, `cpus` logical CPUs, without a dashboard. Raises Outage."""
    for left in reversed(range(TRIES)):
        try:
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, **options)
            heed_signals()
            return
        except Exception as error:  # of a plain Exception or a RuntimeError Ray makes no difference here
            ray.shutdown()
            if not left:
                raise Outage("cluster", f"Ray did not start here in {TRIES} tries: {error}") from error
            print(f"Ray did not start here; {left} more tries: {error}", file=sys.stderr, flush=True)
