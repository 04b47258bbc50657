"""How each family's learner computes: which have an adapter, and the path for those that have none.

Guarantees: a family with an adapter is trained packed, with the pictures' features computed apart from the language
model; every other one that transformers knows is trained whole: one trajectory at a time through the model's own
forward pass, slower and as exact.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

TOWERS = ("visual", "vision_tower", "vision_model")  # of `model.model`: what sees pictures


@dataclass(frozen=True)
class Seen:
    """What a vision tower gives: one row a placeholder, and rows that are added in the first text layers."""

    features: Tensor  # (P, d)
    deep: tuple[Tensor, ...] = ()  # (P, d) each


def _see(core: Any, patches: Tensor, grids: Tensor) -> Seen:
    return Seen(core.visual(patches, grid_thw=grids).pooler_output)


def _see_deep(core: Any, patches: Tensor, grids: Tensor) -> Seen:
    out = core.visual(patches, grid_thw=grids)
    return Seen(out.pooler_output, tuple(out.deepstack_features))


def _embed_patches(self: Any, patches: Tensor) -> Tensor:
    """The patch embedding as the matrix product it is: its convolution's stride is its kernel, and the patches come
    flattened. Several times faster than Conv3d, forward and backward."""
    return linear(patches.to(self.proj.weight.dtype), self.proj.weight.flatten(1), self.proj.bias)


def _flat_embedding(model: Any) -> None:
    embed = model.model.visual.patch_embed
    embed.forward = MethodType(_embed_patches, embed)


def _as_it_is(model: Any) -> None:
    pass


@dataclass(frozen=True)
class Adapter:
    """A family whose pictures are patches on a grid (`image_grid_thw`) and whose positions are M-RoPE (see
    training.learner.packing.positions). `see`: model.model, patches, grids -> Seen."""

    see: Callable[[Any, Tensor, Tensor], Seen] = _see
    prepare: Callable[[Any], None] = _as_it_is
    text_kwargs: dict[str, Any] = field(default_factory=lambda: {"attention_mask": {"full_attention": None}})


PLAIN_MASK: dict[str, Any] = {"attention_mask": None}
ADAPTERS: dict[str, Adapter] = {  # by config.model_type
    "qwen2_vl": Adapter(prepare=_flat_embedding),
    "qwen2_5_vl": Adapter(prepare=_flat_embedding),
    "qwen3_vl": Adapter(_see_deep, text_kwargs=PLAIN_MASK),
    "qwen3_vl_moe": Adapter(_see_deep, text_kwargs=PLAIN_MASK),
    "glm4v": Adapter(text_kwargs=PLAIN_MASK),
    "glm4v_moe": Adapter(text_kwargs=PLAIN_MASK),
}


def adapter_of(model_type: str) -> Adapter | None:
    """None: the family is trained whole, one trajectory at a time."""
    return ADAPTERS.get(model_type)


def tower(model: Any) -> torch.nn.Module:
    """The vision tower of a transformers model. Raises ValueError where it has none of a known name."""
    for name in TOWERS:
        if (found := getattr(model.model, name, None)) is not None:
            return found
    raise ValueError(f"a {model.config.model_type} model has no vision tower named {', '.join(TOWERS)}")
