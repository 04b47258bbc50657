"""Attention over packed tokens: no padding, no mask the size of the batch, prompts shared by a group computed once.

Guarantees: a token attends to exactly what it attends to when its trajectory is run alone (its trajectory's earlier
tokens), whatever else is in the batch. Tokens lie flat; a `Segment` is a run of queries whose keys are an optional
shared prefix, seen whole, and the run itself, seen causally (Prefix Grouper, arXiv 2506.05433, in packed form).

Registered with transformers under `NAME`, so that models, LoRA, FSDP and gradient checkpointing stay as they are. The
name contains "flash" because transformers then hands the vision tower's window boundaries over instead of looping.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention as sdpa

NAME = "rrvf_packed_flash"

try:
    from flash_attn import flash_attn_varlen_func
except ImportError:  # hard to build beside a new torch
    flash_attn_varlen_func = None
try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # before torch 2.10
    varlen_attn = None  # type: ignore[assignment]


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


class Packed(NamedTuple):
    """What a kernel for packed rows needs of the segments; tensors on its device."""

    places: Tensor  # (sum of keys,) flat positions of every segment's keys, side by side
    queries: Tensor  # (segments + 1,) int32, cumulative counts
    keys: Tensor  # (segments + 1,) int32
    longest_queries: int
    longest_keys: int


class Layout:
    """All segments of a micro-batch, in order, covering its tokens. No dataclass: FSDP rebuilds those in every layer,
    and with them the tensors below."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments
        self._packed: dict[torch.device, Packed] = {}

    def packed(self, device: torch.device) -> Packed:
        """Made at the first call for a device, so that no layer but the first waits for a copy."""
        if device not in self._packed:
            runs = [r for s in self.segments for r in ((s.prefix, s.prefix_stop), (s.start, s.stop)) if r[1] > r[0]]
            places = torch.cat([torch.arange(*run) for run in runs]).to(device)
            counts = torch.tensor([[0, 0]] + [[s.queries, s.keys] for s in self.segments])
            queries, keys = counts.cumsum(0).to(torch.int32).T.contiguous().to(device)
            self._packed[device] = Packed(places, queries, keys, *counts.amax(0).tolist())
        return self._packed[device]


# q (queries, heads, d), k and v (keys, kv_heads, d), cumulative counts, longest runs, scale, causal -> like q.
# A causal mask is aligned to the bottom right, which is what a prefix needs.
Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int, float | None, bool], Tensor]


def kernel(query: Tensor) -> Kernel | None:
    """The fastest kernel for packed rows that takes `query`; None: one call of SDPA a segment."""
    if not query.is_cuda or query.dtype == torch.float32:
        return None
    if flash_attn_varlen_func is not None:
        return flash_attention
    return torch_varlen if varlen_attn is not None else None


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    scale: float | None,
    causal: bool,
) -> Tensor:
    """FlashAttention's own package (`pip install flash-attn`)."""
    return flash_attn_varlen_func(q, k, v, cu_q, cu_k, max_q, max_k, softmax_scale=scale, causal=causal)


def torch_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    scale: float | None,
    causal: bool,
) -> Tensor:
    """The copy of FlashAttention that torch brings."""
    window = (-1, 0) if causal else (-1, -1)
    options: dict[str, Any] = {"scale": scale, "window_size": window}
    if (repeats := q.shape[1] // k.shape[1]) > 1:
        if "enable_gqa" in signature(varlen_attn).parameters:
            options["enable_gqa"] = True
        else:  # torch 2.11 knows no grouped keys
            k, v = k.repeat_interleave(repeats, 1), v.repeat_interleave(repeats, 1)
    out = varlen_attn(q, k, v, cu_q, cu_k, max_q, max_k, **options)
    assert isinstance(out, Tensor)
    return out


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
    fast = kernel(query)
    if fast is not None:
        q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))
    if layout is not None and fast is not None:
        packed = layout.packed(query.device)
        k, v = k[packed.places], v[packed.places]
        out = fast(q, k, v, packed.queries, packed.keys, packed.longest_queries, packed.longest_keys, scaling, True)
    elif layout is not None:
        out = _causal(query[0], key[0], value[0], layout, scaling)
    elif cu_seq_lens_q is not None and fast is not None:
        cu, longest = cu_seq_lens_q.to(torch.int32), int(cu_seq_lens_q.diff().max())
        out = fast(q, k, v, cu, cu, longest, longest, scaling, False)
    elif cu_seq_lens_q is not None:
        out = _windows(query[0], key[0], value[0], cu_seq_lens_q, scaling)
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


def register() -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, packed_attention)
