"""Log-probabilities as plain transformers computes them: the side that has none of our code in its forward pass."""

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from actors.contracts import Sample
from actors.families.tokens import banned_ids


def continued(
    folder: str | Path, prompt: Sequence[int], images: Sequence[bytes], tokens: tuple[int, ...], version: int = 0
) -> Sample:
    """`tokens` after a prompt with one placeholder an image, as a policy at temperature 1 would have sampled them."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    text = processor.tokenizer.decode(list(prompt), skip_special_tokens=False)
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in images]
    inputs = dict(processor(text=[text], images=pictures, return_tensors="pt", add_special_tokens=False))
    before = inputs["input_ids"].shape[1]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], 1)
    inputs.pop("attention_mask")
    if "mm_token_type_ids" in inputs:
        kinds = torch.zeros(1, len(tokens), dtype=inputs["mm_token_type_ids"].dtype)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], kinds], 1)
    with torch.no_grad():
        logits = model(**inputs).logits[0].float()
    logits[:, list(banned_ids(processor.tokenizer))] = -torch.inf
    logp = logits.log_softmax(-1)[before - 1 : -1].gather(1, torch.tensor(tokens)[:, None])[:, 0]
    return Sample(tokens, tuple(logp.tolist()), (version,) * len(tokens), before, "length")
