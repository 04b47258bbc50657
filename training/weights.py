"""Publishing the learner's weights to every policy actor while their requests are in flight.

Guarantees: all actors get the same bytes, checked by CRC-32 on arrival and again where they are loaded; an actor's
version changes only with its weights; the call ends by `learner.sync_s` with the actors it reached or a named Outage.
The bytes are made once and travel through the object store, so ten actors cost one copy, not ten.
"""

import time
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from safetensors.torch import save

from actors.contracts import Outage
from actors.policy import UpdateReport
from configs.schema import Config


@dataclass(frozen=True)
class SyncReport:
    """One publication. `pause_s`: longest time an engine stood still; `seconds`: the learner's whole wait."""

    version: int
    seconds: float
    pause_s: float
    bytes: int
    running: int  # requests that were in flight, over all actors


class Publisher:
    """Sends checkpoint-named tensors to policy actors on CPUs (`actors.weight_engine` receives them)."""

    def __init__(self, policies: Sequence[Any], config: Config) -> None:
        self._policies = list(policies)
        self._deadline = config.learner.sync_s

    def publish(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> SyncReport:
        """Make `named_tensors` (full, unsharded, checkpoint names) the weights `version` of every actor.

        Raises Outage("sync", ...) when an actor is gone or does not confirm in time.
        """
        started = time.perf_counter()
        blob = np.frombuffer(save({n: t.detach().contiguous() for n, t in named_tensors}), dtype=np.uint8)
        crc32 = zlib.crc32(blob.data)
        ref = ray.put(blob)
        try:
            calls = [policy.update.remote(ref, crc32, version) for policy in self._policies]
            reports: list[UpdateReport] = ray.get(calls, timeout=self._deadline)
        except ray.exceptions.GetTimeoutError:
            limit = self._deadline
            raise Outage("sync", f"weights {version} not confirmed within {limit:g} s (learner.sync_s)") from None
        except ray.exceptions.RayTaskError as error:
            raise Outage("sync", f"weights {version}: {' '.join(str(error.cause).split())}") from error
        except ray.exceptions.RayError as error:
            raise Outage("sync", f"weights {version}: a policy actor is gone ({type(error).__name__})") from error
        return SyncReport(
            version,
            time.perf_counter() - started,
            max(report.pause_s for report in reports),
            blob.nbytes,
            sum(report.running for report in reports),
        )
