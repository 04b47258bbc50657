"""Weights from the learner's GPUs into the policy's: vLLM's own NCCL engine, driven over Ray.

Guarantees: vLLM's trainer engine keeps the protocol (handshake, metadata, buckets); this file carries its four calls to
every policy actor at once and gives each replica its own ranks; every call has the deadline of the whole transfer, and
none is repeated on an actor that was started again in the middle of it. Before each transfer every actor is asked
whether it is connected: where one died, or comes back, all that answer are connected anew, so that a transfer never
waits for a rank that is gone. Packed buckets stream from learner rank 0 to all engines in one broadcast.
"""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import ParamMeta, TrainerWeightTransferEngine, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from actors.contracts import Outage
from actors.engine.living import answering
from actors.engine.policy import UpdateReport
from training.learner.model import Policy, named_shapes, named_weights


class Weights(WeightSource):
    """The learner's weights under checkpoint names; iterating gathers shards, so every rank must."""

    def __init__(self, policy: Policy, dtype: torch.dtype) -> None:
        self._policy, self._dtype = policy, dtype

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(name, self._dtype, shape) for name, shape in named_shapes(self._policy)]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        return named_weights(self._policy, self._dtype)


class Engines:
    """vLLM's VLLMWeightSyncClient for policy actors, each with `gpus` ranks of the transfer group."""

    def __init__(self, policies: Sequence[Any], gpus: int) -> None:
        self._all_policies = list(policies)
        self._policies = list(policies)  # those that are connected
        self._gpus = gpus
        self.deadline = time.monotonic()  # of the transfer under way
        self.version = 0
        self.reports: list[UpdateReport] = []

    def join(self, policies: Sequence[Any]) -> None:
        """Take them in at the next transfer."""
        self._all_policies += policies

    @property
    def ranks(self) -> int:
        """Ranks of the transfer group besides the learner's."""
        return self._gpus * len(self._policies)

    def take_stock(self) -> bool:
        """Ask every actor for its connection. True where those that answer are exactly those that were connected; else
        they are disconnected, and `connect` is due. Raises Outage where none answers."""
        living = answering(self._all_policies, "connected", self.deadline - time.monotonic())
        if not living:
            raise Outage("sync", f"none of {len(self._all_policies)} policy actors answers (learner.sync_s)")
        same = [policy for policy, _ in living] == self._policies and all(connected for _, connected in living)
        self._policies = [policy for policy, _ in living]
        if not same:
            self._all(p.disconnect.options(max_task_retries=0).remote() for p, connected in living if connected)
        return same

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        self._all(
            p.connect.options(max_task_retries=0).remote(
                {**init_info, "rank_offset": init_info["rank_offset"] + i * self._gpus}
                if "rank_offset" in init_info
                else init_info
            )
            for i, p in enumerate(self._policies)
        )

    def start_weight_update(self) -> None:
        self._all(p.begin.options(max_task_retries=0).remote() for p in self._policies)

    def update_weights(self, update_info: dict[str, Any] | list[dict[str, Any]]) -> None:
        info = ray.put(update_info)  # once for all actors
        self._all(p.write.options(max_task_retries=0).remote(info) for p in self._policies)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        del weight_version  # vLLM's trainer engines leave it out; the version is the publisher's
        self.reports = self._all(p.commit.options(max_task_retries=0).remote(self.version) for p in self._policies)

    def shutdown_weight_transfer_engine(self) -> None:
        self._all(p.disconnect.options(max_task_retries=0).remote() for p in self._policies)

    def _all(self, calls: Iterator[Any]) -> list[Any]:
        return ray.get(list(calls), timeout=max(0.0, self.deadline - time.monotonic()))


class DeviceTransfer:
    """One learner rank's side of every transfer; the connection is made at the first and again after a failure."""

    def __init__(self, engines: Engines, source: Weights, rank: int) -> None:
        """`rank` of the learner worker."""
        self._engines = engines
        self._source = source
        self._rank = rank
        self._trainer: TrainerWeightTransferEngine[Any] | None = None

    def join(self, policies: Sequence[Any]) -> None:
        self._engines.join(policies)

    def send(self, version: int, limit: float) -> list[UpdateReport]:
        """Make the learner's weights `version` everywhere; what each actor reports (rank 0; others: nothing).

        Collective calls cannot be interrupted: they run beside this thread, which raises Outage after `limit` seconds,
        so the run ends with a name instead of a hang.
        """
        self._engines.version = version
        self._engines.deadline = time.monotonic() + limit
        if self._rank == 0 and not self._engines.take_stock() and self._trainer is not None:
            self._trainer.shutdown()
            self._trainer = None
        if torch.cuda.is_available():  # the optimizer's step has ended before another stream reads what it wrote
            torch.cuda.synchronize()
        failed: list[BaseException] = []
        device = torch.cuda.current_device() if torch.cuda.is_available() else None

        def transfer() -> None:
            try:
                if device is not None:
                    torch.cuda.set_device(device)
                if self._trainer is None:
                    self._trainer = self._connect()
                self._trainer.send_weights()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=transfer, name="weight-transfer", daemon=True)
        thread.start()
        thread.join(limit)
        if thread.is_alive():
            raise Outage("sync", f"weights {version} not confirmed within {limit:g} s (learner.sync_s)")
        if device is not None:
            torch.cuda.empty_cache()  # what was gathered for sending is room for the next step's activations
        if failed:
            self._trainer = None
            raise failed[0]
        return self._engines.reports

    def _connect(self) -> TrainerWeightTransferEngine[Any]:
        info = NCCLTrainerInitInfo(
            master_address=ray.util.get_node_ip_address(),
            master_port=_free_port(),
            world_size=1 + self._engines.ranks,
            rank=self._rank,
        )
        return WeightTransferTrainerFactory.trainer_init(info, client=self._engines, source=self._source)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
