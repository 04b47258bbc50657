"""Attention over packed tokens: no padding, no mask the size of the batch, prompts shared by a group computed once.

Guarantees: a token attends to exactly what it attends to when its trajectory is run alone (its trajectory's earlier
tokens), whatever else is in the batch. Tokens lie flat; a `Segment` is a run of queries whose keys are an optional
shared prefix, seen whole, and the run itself, seen causally (Prefix Grouper, arXiv 2506.05433, in packed form).

Registered with transformers under `NAME`, so that models, LoRA, FSDP and gradient checkpointing stay as they are. The
name contains "flash" because transformers then hands the vision tower's window boundaries over instead of looping.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

NAME = "rrvf_packed_flash"

try:
    from flash_attn import flash_attn_varlen_func
except ImportError:
    flash_attn_varlen_func = None


@dataclass(frozen=True)
class Segment:
    """Queries [start, stop) of the flat batch; keys: [prefix, prefix_stop), another whole segment or nothing, then
    [start, stop) causally."""

    start: int
    stop: int
    prefix: int = 0
    prefix_stop: int = 0

    @property
    def queries(self) -> int:
        return self.stop - self.start

    @property
    def keys(self) -> int:
        return self.prefix_stop - self.prefix + self.queries


@dataclass(frozen=True)
class Layout:
    """All segments of a micro-batch, in order, covering its tokens."""

    segments: tuple[Segment, ...]

    @cached_property
    def key_index(self) -> Tensor:
        """(sum of keys,) flat positions of every segment's keys, for kernels that want them side by side."""
        runs = [r for s in self.segments for r in ((s.prefix, s.prefix_stop), (s.start, s.stop)) if r[1] > r[0]]
        return torch.cat([torch.arange(*run) for run in runs])

    @cached_property
    def boundaries(self) -> tuple[Tensor, Tensor]:
        """Cumulative query and key counts, (segments + 1,) int32 each."""
        counts = torch.tensor([[0, 0]] + [[s.queries, s.keys] for s in self.segments]).cumsum(0).to(torch.int32)
        return counts[:, 0].contiguous(), counts[:, 1].contiguous()


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    layout: Layout | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface. query (1, heads, N, d), key and value (1, kv_heads, N, d) -> (1, N, heads, d).

    With `layout` causal over its segments; with `cu_seq_lens_q` (windows + 1,) whole windows, as the vision tower asks.
    """
    flash = flash_attn_varlen_func is not None and query.is_cuda and query.dtype != torch.float32
    if layout is not None:
        out = (_causal_flash if flash else _causal)(query[0], key[0], value[0], layout, scaling)
    elif cu_seq_lens_q is not None:
        out = (_windows_flash if flash else _windows)(query[0], key[0], value[0], cu_seq_lens_q, scaling)
    else:
        raise ValueError(f"{NAME} needs a layout (text) or window boundaries (vision)")
    return out.unsqueeze(0), None


def _causal(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float | None) -> Tensor:
    """(heads, N, d) -> (N, heads, d), one SDPA call a segment."""
    if (repeats := query.shape[0] // key.shape[0]) > 1:
        key, value = key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0)
    # One split of each tensor: slicing it once a segment would make a gradient of full size for every slice.
    parts = [t.split([s.queries for s in layout.segments], 1) for t in (query, key, value)]
    places = {s.start: i for i, s in enumerate(layout.segments)}
    outs = []
    for s, q, k, v in zip(layout.segments, *parts, strict=True):
        if s.prefix_stop > s.prefix:
            shared = places[s.prefix]
            k, v = torch.cat([parts[1][shared], k], 1), torch.cat([parts[2][shared], v], 1)
            mask = _bottom_right(s.queries, s.keys, q.device)
            out = sdpa(q[None], k[None], v[None], attn_mask=mask, scale=scaling)
        else:
            out = sdpa(q[None], k[None], v[None], is_causal=True, scale=scaling)
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs)


def _bottom_right(queries: int, keys: int, device: torch.device) -> Tensor:
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)


def _windows(query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float | None) -> Tensor:
    """(heads, N, d) -> (N, heads, d); windows of one length go through one SDPA call."""
    starts, lengths = boundaries[:-1], boundaries.diff()
    order, outs = [], []
    for length in lengths.unique().tolist():
        chosen = starts[lengths == length]
        index = (chosen[:, None] + torch.arange(length, device=chosen.device)).reshape(-1)
        q, k, v = (
            t.index_select(1, index).unflatten(1, (len(chosen), length)).transpose(0, 1) for t in (query, key, value)
        )
        outs.append(sdpa(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1))
        order.append(index)
    if len(outs) == 1 and len(starts) == 1:
        return outs[0]
    place = torch.empty_like(torch.cat(order))
    place[torch.cat(order)] = torch.arange(len(place), device=place.device)
    return torch.cat(outs).index_select(0, place)


def _causal_flash(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scaling: float | None) -> Tensor:
    """FlashAttention aligns a causal mask to the bottom right, which is what a prefix needs."""
    index = layout.key_index.to(query.device)
    cu_q, cu_k = (b.to(query.device) for b in layout.boundaries)
    longest_q, longest_k = max(s.queries for s in layout.segments), max(s.keys for s in layout.segments)
    q, k, v = (t.transpose(0, 1) for t in (query, key, value))
    return flash_attn_varlen_func(
        q, k[index], v[index], cu_q, cu_k, longest_q, longest_k, softmax_scale=scaling, causal=True
    )


def _windows_flash(query: Tensor, key: Tensor, value: Tensor, boundaries: Tensor, scaling: float | None) -> Tensor:
    q, k, v = (t.transpose(0, 1) for t in (query, key, value))
    cu, longest = boundaries.to(torch.int32), int(boundaries.diff().max())
    return flash_attn_varlen_func(q, k, v, cu, cu, longest, longest, softmax_scale=scaling)


def register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
