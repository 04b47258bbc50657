"""CLIP similarity of two pictures: the cosine of their image embeddings.

Guarantees: the model comes from a local path or a hub name through transformers; without one there is no number, only
the reason; a model that cannot be loaded is one clear line before anything is scored.
"""

import io
from typing import Any

from PIL import Image

from configs.load import ConfigError

MISSING = "no CLIP model: --clip PATH"


class Clip:
    """One model on this machine's CPU, or its GPU where there is one."""

    def __init__(self, path: str) -> None:
        """Raises ConfigError naming the path and the fault."""
        import torch
        from transformers import AutoImageProcessor, AutoModel

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
        inputs = self._processor(images=[first.convert("RGB"), second.convert("RGB")], return_tensors="pt")
        with self._torch.inference_mode():
            found = self._model.get_image_features(pixel_values=inputs["pixel_values"].to(self._device))
        found = getattr(found, "pooler_output", found)  # newer releases return the whole output
        a, b = self._torch.nn.functional.normalize(found.float(), dim=-1)
        return float(a @ b)


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")
