"""One learner over one or many ranks: who am I, who gets what, and FSDP2 where there is more than one.

Guarantees: with one rank nothing is sharded and nothing is sent; plain objects travel over gloo on the hosts, so they
never wait for a GPU; every rank leaves a call here in the same state or raises.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
HOST_WAIT = timedelta(hours=2)  # rank 0 may wait for a batch; its own deadline (queue.take_s) comes first


@dataclass(frozen=True)
class Ranks:
    """Rank and size of the learner, its device, and a gloo group for host objects (None with one rank)."""

    rank: int
    size: int
    device: torch.device
    hosts: Any = None

    @classmethod
    def join(cls, gpus: int) -> "Ranks":
        """The ranks of torch's default process group, or a ranks of one where there is none."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(0, 1, _device(gpus))
        hosts = dist.new_group(backend="gloo", timeout=HOST_WAIT)
        return cls(dist.get_rank(), dist.get_world_size(), _device(gpus), hosts)

    def scatter(self, parts: Sequence[T] | None) -> T:
        """Rank r's part of what rank 0 passes, one part a rank."""
        if self.size == 1:
            assert parts is not None
            return parts[0]
        mine: list[Any] = [None]
        dist.scatter_object_list(mine, list(parts) if parts is not None else None, src=0, group=self.hosts)
        return mine[0]

    def total(self, values: Tensor) -> Tensor:
        """Sum over ranks, on the host."""
        values = values.detach().cpu()
        if self.size > 1:
            dist.all_reduce(values, group=self.hosts)
        return values

    def largest(self, value: float) -> float:
        held = torch.tensor([value], dtype=torch.float64)
        if self.size > 1:
            dist.all_reduce(held, op=dist.ReduceOp.MAX, group=self.hosts)
        return float(held)


def grow_segments() -> None:
    """Let the allocator grow its segments (PYTORCH_ALLOC_CONF, unless a user has set it): micro-batches differ in
    length, and segments of fixed size would leave holes of gigabytes. Call before the first allocation on a GPU."""
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")


def _device(gpus: int) -> torch.device:
    if gpus == 0:
        return torch.device("cpu")
    grow_segments()
    from ray.train.torch import get_device

    found = get_device()
    return found[0] if isinstance(found, list) else found


def distribute(policy: nn.Module, ranks: Ranks, dtype: torch.dtype) -> nn.Module:
    """Move `policy` to its device; shard it by FSDP2, layer by layer, over more than one rank.

    Parameters stay float32; with bfloat16 they are gathered and used in bfloat16 and gradients are reduced in float32.
    """
    policy.to(ranks.device)
    if ranks.size == 1:
        return policy
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    precision = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    layers = set(policy.hf._no_split_modules)  # type: ignore[union-attr, arg-type]
    for module in policy.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh, mp_policy=precision)
    fully_shard(policy, mesh=mesh, mp_policy=precision)
    return policy
