"""Pictures as the model takes them: by its own processor, patches on a grid or whatever its forward pass asks for.

Guarantees: each distinct PNG on a grid is decoded once; the patches are those of the Hugging Face processor that the
engine uses as well; a grid is known from the size in the PNG's header alone and checked against the processor's when
the patches are made. Keyed by content hash; the most recent pictures are kept, because targets come back in every
micro-batch of a step.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from actors.families.tokens import Expansion, placeholder

Grid = tuple[int, int, int]  # temporal, height, width, in patches


class Pixels:
    """`processor`: a Hugging Face processor whose pictures are patches on a grid. Keeps up to `keep_mb` of patches."""

    packed = True

    def __init__(self, processor: Any, keep_mb: int = 512) -> None:
        processor = getattr(processor, "image_processor", processor)
        self.merge: int = processor.merge_size
        self._processor = processor
        self._sizes: dict[tuple[int, int], Grid] = {}
        self._grids: dict[str, Grid] = {}
        self._patches: OrderedDict[str, Tensor] = OrderedDict()
        self._room = keep_mb * 2**20

    def grid(self, png: bytes, name: str) -> Grid:
        """Patch grid of a PNG with content hash `name`. Raises ValueError when it is no picture."""
        if name not in self._grids:
            try:
                width, height = Image.open(io.BytesIO(png)).size
            except OSError as error:
                raise ValueError(f"image {name[:12]} is not readable") from error
            self._grids[name] = self._grid_of(width, height)
        return self._grids[name]

    def _grid_of(self, width: int, height: int) -> Grid:
        """By the processor, which is the only one that knows how it resizes: it depends on the size alone."""
        if (width, height) not in self._sizes:
            blank = Image.new("RGB", (width, height))
            made = self._processor(images=[blank], return_tensors="pt")
            t, h, w = made["image_grid_thw"][0].tolist()
            self._sizes[width, height] = (t, h, w)
        return self._sizes[width, height]

    def tokens(self, grid: Grid) -> int:
        """Placeholders of a picture: its patches over merge_size squared."""
        return grid[0] * grid[1] * grid[2] // self.merge**2

    def patches(self, names: Sequence[str], images: Mapping[str, bytes]) -> tuple[Tensor, Tensor]:
        """Patches (sum of patches, patch size) float32 and grids (len(names), 3) of distinct pictures, in order."""
        missing = [name for name in names if name not in self._patches]
        if missing:
            decoded = [Image.open(io.BytesIO(images[name])).convert("RGB") for name in missing]
            made = self._processor(images=decoded, return_tensors="pt")
            grids = [tuple(grid) for grid in made["image_grid_thw"].tolist()]
            if grids != (known := [self.grid(images[name], name) for name in missing]):
                raise ValueError(f"the processor made grids {grids}, expected {known}")
            split = made["pixel_values"].split([t * h * w for t, h, w in grids])
            self._patches.update(zip(missing, (part.clone() for part in split), strict=True))
        for name in names:
            self._patches.move_to_end(name)
        values = torch.cat([self._patches[name] for name in names])
        self._forget(len(names))
        return values, torch.tensor([self._grids[name] for name in names])

    def _forget(self, keep: int) -> None:
        total = sum(p.numel() * p.element_size() for p in self._patches.values())
        while total > self._room and len(self._patches) > keep:
            _, gone = self._patches.popitem(last=False)
            total -= gone.numel() * gone.element_size()


class WholePictures:
    """`processor`: a Hugging Face processor of any family. A picture's "grid" is (1, placeholders, 1)."""

    packed = False
    merge = 1

    def __init__(self, processor: Any, image_token: int) -> None:
        self._processor = processor
        self._expansion = Expansion(processor)
        self._image_token = image_token

    def grid(self, png: bytes, name: str) -> Grid:
        try:
            width, height = Image.open(io.BytesIO(png)).size
        except OSError as error:
            raise ValueError(f"image {name[:12]} is not readable") from error
        return (1, self._expansion.of_size(width, height).count(self._image_token), 1)

    def tokens(self, grid: Grid) -> int:
        return grid[1]

    def inputs(self, ids: np.ndarray, pngs: Sequence[bytes]) -> dict[str, Tensor]:
        """What the model's forward pass takes beside the ids (L,) of a trajectory that shows `pngs`."""
        if not pngs:
            return {}
        text = placeholder(self._processor) * len(pngs)
        images = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
        made = dict(self._processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False))
        kinds = made.pop("mm_token_type_ids", None)
        for name in ("input_ids", "attention_mask", "token_type_ids"):
            made.pop(name, None)
        if kinds is not None:
            made["mm_token_type_ids"] = torch.from_numpy((ids == self._image_token).astype(np.int64))[None]
        return {name: value for name, value in made.items() if isinstance(value, Tensor)}
