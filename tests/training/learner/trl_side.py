"""TRL's GRPOTrainer given our trajectories: the same model, padded as TRL pads, its own loss and its own step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.learner.image_inputs import Pixels
from training.learner.packing import Row


def trainer(model: Path, out: Path, **options: Any) -> Any:
    """A GRPOTrainer on the CPU in float32 whose model is that of the folder."""
    from datasets import Dataset
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
    from trl import GRPOConfig, GRPOTrainer

    settings: dict[str, Any] = {
        "output_dir": str(out),
        "report_to": "none",
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 512,
        "temperature": 1.0,
        "disable_tqdm": True,
    }
    found = GRPOTrainer(
        model=Qwen2_5_VLForConditionalGeneration.from_pretrained(model, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(**settings | options),
        train_dataset=Dataset.from_list([{"prompt": "x"}] * 4),
        processing_class=AutoProcessor.from_pretrained(model),
    )
    found.current_gradient_accumulation_steps = 1
    found.model.train()
    return found


def inputs(rows: Sequence[Row], images: dict[str, bytes], pixels: Pixels, image_token: int) -> dict[str, Any]:
    """The rows as TRL's batch: prompts padded on the left, completions on the right, feedback in `tool_mask`."""
    prompts = [int(row.sampled.argmax()) for row in rows]
    tails = [len(row.ids) - n for row, n in zip(rows, prompts, strict=True)]

    def left(values: Any, n: int) -> Tensor:
        held = torch.as_tensor(values)[:n]
        return torch.nn.functional.pad(held, (max(prompts) - n, 0))

    def right(values: Any, n: int) -> Tensor:
        held = torch.as_tensor(values)[n:]
        return torch.nn.functional.pad(held, (0, max(tails) - len(held)))

    def both(of: Any, side: Any) -> Tensor:
        return torch.stack([side(of(row), n) for row, n in zip(rows, prompts, strict=True)])

    prompt_ids, completion_ids = both(lambda r: r.ids, left), both(lambda r: r.ids, right)
    patches, grids = zip(*(pixels.patches(row.images, images) for row in rows), strict=True)
    sampled = both(lambda r: r.sampled.astype("int64"), right)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": both(lambda r: torch.ones(len(r.ids), dtype=torch.int64), left),
        "completion_ids": completion_ids,
        "completion_mask": both(lambda r: torch.ones(len(r.ids), dtype=torch.int64), right),
        "tool_mask": sampled,
        "advantages": torch.tensor([row.advantage for row in rows], dtype=torch.float32),
        "old_per_token_logps": both(lambda r: r.behaviour, right),
        "pixel_values": torch.cat(patches),
        "image_grid_thw": torch.cat(grids),
        "num_images": [len(row.images) for row in rows],
        "mm_token_type_ids": (torch.cat([prompt_ids, completion_ids], 1) == image_token).int(),
        "num_items_in_batch": sampled.sum(),
    }
