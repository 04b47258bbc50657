"""A policy that knows one dialogue by heart: the embedded policy's architecture, trained on it alone."""

from pathlib import Path

import torch

from actors.dialogue import Codec, Dialogue
from actors.families.tokens import banned_ids
from configs.schema import Prompts


def by_heart(folder: Path, prompts: Prompts, picture: bytes, turns: list[str], feedback: list[str], steps: int) -> Path:
    """Write a policy to `folder` that answers `picture` with `turns`, given `feedback` between them, and with the last
    of them where the prompt offers no tool."""
    from training.base.teach import optimisers
    from training.data import tiny_policy
    from training.jobs.sft import row_of
    from training.learner.image_inputs import Pixels
    from training.learner.model import Policy, load_model
    from training.learner.packing import build

    torch.manual_seed(0)
    tiny_policy.build(folder, 0, [*turns, *feedback])
    codec = Codec.load(str(folder), prompts)
    dialogue = Dialogue.start(codec, picture)
    for turn, answer in zip(turns, [*feedback, None], strict=True):
        dialogue.add_text(turn)
        if answer is not None:
            dialogue.add_feedback(answer)
    direct = Dialogue.start(codec, picture, direct=True)
    direct.add_text(turns[-1])
    model = load_model(folder)
    policy = Policy(
        model.train(), banned=banned_ids(codec.tokenizer), temperature=1.0, chunk=1 << 20, freeze_vision=False
    )
    pixels = Pixels(codec.processor.image_processor)
    rows = [(row_of(one, pixels, model.config.image_token_id),) for one in (dialogue, direct)]
    batch = build(rows, model.config.image_token_id, pixels)
    inputs = pixels.patches(batch.images, dict(zip(rows[0][0].images, dialogue.images, strict=True)))
    tools = optimisers(model)
    for _ in range(steps):
        (-policy(batch, *inputs)[0].mean()).backward()
        for tool in tools:
            tool.step()
            tool.zero_grad(set_to_none=True)
    model.save_pretrained(folder)
    return folder
