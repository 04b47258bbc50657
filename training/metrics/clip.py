"""CLIP similarity of two pictures: the cosine of their image embeddings.

Guarantees: the model comes from a local path or a hub name through transformers; without one there is no number, only
the reason; a model that cannot be loaded is one clear line before anything is scored. A CLIP model's pictures are
prepared as its authors' package does it (Pillow's bicubic resize of the shorter side, centre crop), which processors
that resize tensors do not.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from configs.load import ConfigError

MISSING = "no CLIP model: --clip PATH"
# of the published models; a model's own processor may hold others
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def prepared(image: Image.Image, side: int, mean: Any = MEAN, std: Any = STD) -> np.ndarray:
    """[3, side, side] float32: the published preprocessing, to the digit."""
    width, height = image.size
    long = int(side * max(width, height) / min(width, height))
    width, height = (side, long) if width <= height else (long, side)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - side) / 2), round((height - side) / 2)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)).convert("RGB"), np.float32)
    scaled = (pixels / np.float32(255) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


class Clip:
    """One model on this machine's CPU, or its GPU where there is one."""

    def __init__(self, path: str) -> None:
        """Raises ConfigError naming the path and the fault."""
        import torch
        from transformers import AutoImageProcessor, AutoModel

        if path.startswith((".", "/")) and not Path(path).is_dir():
            raise ConfigError(f"--clip {path}: no folder there")
        try:
            self._processor: Any = AutoImageProcessor.from_pretrained(path)
            self._model: Any = AutoModel.from_pretrained(path).eval()
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"--clip {path}: {str(error).splitlines()[0]}") from None
        if not hasattr(self._model, "get_image_features"):
            raise ConfigError(f"--clip {path}: {type(self._model).__name__} embeds no images")
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model.to(self._device)

    def similarity(self, first: Image.Image, second: Image.Image) -> float:
        """Cosine of the two embeddings, -1..1."""
        images = [first.convert("RGB"), second.convert("RGB")]
        if type(self._processor).__name__.startswith("CLIP"):
            side, mean, std = self._model.config.vision_config.image_size, *self._statistics()
            pixels = self._torch.from_numpy(np.stack([prepared(image, side, mean, std) for image in images]))
        else:
            pixels = self._processor(images=images, return_tensors="pt")["pixel_values"]
        with self._torch.inference_mode():
            found = self._model.get_image_features(pixel_values=pixels.to(self._device))
        found = getattr(found, "pooler_output", found)  # newer releases return the whole output
        a, b = self._torch.nn.functional.normalize(found.float(), dim=-1)
        return float(a @ b)

    def _statistics(self) -> tuple[Any, Any]:
        return self._processor.image_mean or MEAN, self._processor.image_std or STD


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")
