"""Publishing the learner's weights to every policy actor while their requests are in flight.

Guarantees: all actors get the same bytes; an actor's version changes only with its weights; the call ends by
`learner.sync_s` with every actor reached that was there when it began, or a named Outage. An actor that died is left
out: it gets the weights later, on CPUs by `training.run.cluster`, on GPUs at the next publication. So does an actor
that joins. With none left it is an Outage. On CPUs the bytes are made once, travel through the object store (ten actors
cost one copy, not ten) and are checked by CRC-32 on arrival and again where they are loaded. On GPUs vLLM's own
transfer engine carries them (`training.learner.weight_sync_gpu`), or the host's memory where engine and learner share
one GPU (`engine.sync=host`).
"""

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from safetensors.torch import save

from actors.contracts import Outage, StoredWeights
from actors.engine.build import HOST, SHARED_MEMORY, sync_backend
from actors.engine.living import answering
from actors.engine.policy import UpdateReport
from configs.schema import Config
from training.learner.model import named_shapes, named_weights
from training.learner.update import Learner

if TYPE_CHECKING:
    from training.learner.weight_sync_gpu import DeviceTransfer


@dataclass(frozen=True)
class SyncReport:
    """One publication. `pause_s`: longest time an engine stood still; `seconds`: the learner's whole wait."""

    version: int
    seconds: float
    pause_s: float
    bytes: int
    running: int  # requests that were in flight, over all actors
    stored: StoredWeights | None = None  # where the bytes went through the object store (CPUs)


class Publisher:
    """Rank `ranks.rank`'s side of every publication; rank 0 talks to the actors, all ranks gather."""

    def __init__(self, policies: Sequence[Any], learner: Learner, config: Config) -> None:
        self._policies = list(policies)
        self._learner = learner
        self._deadline = config.learner.sync_s
        self._transfer: DeviceTransfer | None = None
        how = sync_backend(config.engine)
        if how not in (SHARED_MEMORY, HOST):
            from training.learner import weight_sync_gpu  # imports vLLM, which a learner on CPUs does without

            source = weight_sync_gpu.Weights(learner.policy, learner.dtype)
            engines = weight_sync_gpu.Engines(self._policies, config.engine.gpus)
            self._transfer = weight_sync_gpu.DeviceTransfer(engines, source, learner.ranks.rank)

    def join(self, engines: Sequence[Any]) -> None:
        """Actors that are to get the weights as well; those that are known already stay once."""
        new = [engine for engine in engines if engine not in self._policies]
        self._policies += new
        if self._transfer is not None:
            self._transfer.join(new)

    def publish(self, version: int) -> SyncReport | None:
        """Make the learner's weights `version` of every actor; None on ranks other than 0.

        Raises Outage("sync", ...) when an actor is gone or does not confirm in time.
        """
        started = time.perf_counter()
        try:
            size, reports, stored = self._send(version) if self._transfer is None else self._stream(version)
        except ray.exceptions.GetTimeoutError:
            limit = self._deadline
            raise Outage("sync", f"weights {version} not confirmed within {limit:g} s (learner.sync_s)") from None
        except ray.exceptions.RayTaskError as error:
            raise Outage("sync", f"weights {version}: {' '.join(str(error.cause).split())}") from error
        except ray.exceptions.RayError as error:
            raise Outage("sync", f"weights {version}: a policy actor is gone ({type(error).__name__})") from error
        if self._learner.ranks.rank != 0:
            return None
        pause_s = max(report.pause_s for report in reports)
        running = sum(report.running for report in reports)
        return SyncReport(version, time.perf_counter() - started, pause_s, size, running, stored)

    def _send(self, version: int) -> tuple[int, list[UpdateReport], StoredWeights | None]:
        """One blob to all actors through the object store."""
        weights = named_weights(self._learner.policy, self._learner.dtype)
        if self._learner.ranks.rank != 0:
            for _ in weights:  # gathering is collective
                pass
            return 0, [], None
        blob = np.frombuffer(save({n: t.cpu().contiguous() for n, t in weights}), dtype=np.uint8)
        crc32 = zlib.crc32(blob.data)
        reference = ray.put(blob)
        deadline = time.monotonic() + self._deadline
        reports: list[UpdateReport] = []
        while not reports:
            living = [p for p, _ in answering(self._policies, "stats", max(0.0, deadline - time.monotonic()))]
            for call in [p.update.options(max_task_retries=0).remote(reference, crc32, version) for p in living]:
                try:
                    reports.append(ray.get(call, timeout=max(0.0, deadline - time.monotonic())))
                except ray.exceptions.RayActorError:
                    continue  # it died on the way; what Ray starts in its place is given the weights when it is up
            if not reports and (not living or time.monotonic() >= deadline):
                limit = f"within {self._deadline:g} s (learner.sync_s)"
                raise Outage("sync", f"none of {len(self._policies)} policy actors took weights {version} {limit}")
        return blob.nbytes, reports, StoredWeights(reference, crc32)

    def _stream(self, version: int) -> tuple[int, list[UpdateReport], None]:
        assert self._transfer is not None
        reports = self._transfer.send(version, self._deadline)
        size = sum(math.prod(shape) for _, shape in named_shapes(self._learner.policy))
        return size * self._learner.dtype.itemsize, reports, None
