"""Pictures as the vision tower takes them: each distinct PNG is decoded once, by the model's own image processor.

Guarantees: the patches are those of the Hugging Face processor that the engine uses as well; a grid is known from the
size in the PNG's header alone and checked against the processor's when the patches are made. Keyed by content hash; the
most recent pictures are kept, because targets come back in every micro-batch of a step.
"""

import io
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

Grid = tuple[int, int, int]  # temporal, height, width, in patches


class Pixels:
    """`processor`: a Hugging Face image processor of the Qwen2-VL family. Keeps up to `keep_mb` of patches."""

    def __init__(self, processor: Any, keep_mb: int = 512) -> None:
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        self.merge: int = processor.merge_size
        self._processor = processor
        self._resize = smart_resize
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
            size, patch = self._processor.size, self._processor.patch_size
            least, most = size["shortest_edge"], size["longest_edge"]
            h, w = self._resize(height, width, patch * self.merge, min_pixels=least, max_pixels=most)
            self._grids[name] = (1, h // patch, w // patch)
        return self._grids[name]

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
