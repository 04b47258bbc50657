"""What every process of a run finds in its environment.

Guarantees: set before Ray is imported in the driver, and handed to every worker: one thread a process (cores are shared
by many), and Ray's waits sized for busy machines.
"""

import os
import shlex
import sys
from typing import Any

WORKER_ENV = {
    "OMP_NUM_THREADS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # ray.train.report waits for one health check a call
    "GRPC_ENABLE_FORK_SUPPORT": "0",  # what is forked here starts another program at once; gRPC's handlers only warn
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "RAY_worker_niceness": "0",  # at Ray's 15 any other program of the machine stops the run
    "RAY_gcs_server_port_wait_time_s": "120",  # the head's start, 30 s by default
    "RAY_SERVE_QUEUE_LENGTH_RESPONSE_DEADLINE_S": "5",  # a replica on busy cores is slow, not gone
}


def set_environment() -> None:
    """Call before `import ray`; what a user has set is kept."""
    for name, value in WORKER_ENV.items():
        os.environ.setdefault(name, value)


def runtime_env(own: bool) -> dict[str, Any]:
    """Ray's runtime environment of a run. `own`: of a cluster that is started here, whose workers run this interpreter;
    Ray starts them by a shell and does not quote its path, so one with a blank is quoted here."""
    found: dict[str, Any] = {"env_vars": WORKER_ENV}
    if own and shlex.quote(sys.executable) != sys.executable:
        found["py_executable"] = shlex.quote(sys.executable)
    return found
