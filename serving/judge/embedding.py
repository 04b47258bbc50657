"""Similarity by a vision model's embedding: DINO, CLIP or SigLIP from a local folder (`judge.embedder`).

Guarantees: the score is the cosine of the two pictures' embeddings, as far as it is above what unlike pictures have:
(cos - FLOOR) / (1 - FLOOR), never below 0; the same pair has the same score. It knows no differences to name.
"""

import asyncio
import io
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

from actors.contracts import Domain, Verdict

FLOOR = 0.5  # cosine of unlike pictures: of CLIP about 0.5 between any two drawings
WORDS = "The render does not look like the target yet."


class Embedding:
    """The backend, in a thread so that the replica goes on answering."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self.version = f"embedding-{Path(folder).name}"

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        """Raises ValueError for what is no image."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._judge, target, render)

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModel

        return AutoModel.from_pretrained(self._folder).eval(), AutoImageProcessor.from_pretrained(self._folder)

    def _judge(self, target: bytes, render: bytes) -> Verdict:
        import torch

        started = time.perf_counter()
        first, second = self._vector(target), self._vector(render)
        cosine = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
        score = min(1.0, max(0.0, (cosine - FLOOR) / (1 - FLOOR)))
        return Verdict(score, WORDS, self.version, (), {"cosine": cosine}, time.perf_counter() - started)

    def _vector(self, picture: bytes) -> Any:
        """Embedding [d] of one picture: projected, pooled, or of the first token, whichever the model has."""
        import torch
        from PIL import Image

        model, processor = self._model
        pixels = processor(images=Image.open(io.BytesIO(picture)).convert("RGB"), return_tensors="pt")
        with torch.inference_mode():
            found = model.get_image_features(**pixels) if hasattr(model, "get_image_features") else model(**pixels)
        if not isinstance(found, torch.Tensor):
            pooled = getattr(found, "pooler_output", None)
            found = found.last_hidden_state[:, 0] if pooled is None else pooled
        return found[0].float()

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def stats(self) -> dict[str, float]:
        return {}
