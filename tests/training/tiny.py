"""A random Qwen2.5-VL of a few hundred thousand parameters in Hugging Face layout, and made-up trajectories for it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from actors.trajectory import Group, Reward, Trajectory

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "<tool_response>")
PAD = SPECIAL.index("<|image_pad|>")
START, END = SPECIAL.index("<|vision_start|>"), SPECIAL.index("<|vision_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type']=='image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_model(
    folder: Path, seed: int = 0, hidden: int = 64, layers: int = 2, depth: int = 2, intermediate: int = 96
) -> Path:
    """Model, tokenizer and processor in `folder`; weights large enough that log-probabilities differ clearly."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(["import matplotlib.pyplot as plt\nplt.bar([1, 2, 3], [4, 5, 6])\n"], trainer)
    others = [SPECIAL[1], *SPECIAL[3:]]
    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", additional_special_tokens=others
    )
    tokenizer.add_tokens(list(TAGS))
    tokenizer.chat_template = TEMPLATE
    eos, heads = SPECIAL.index("<|im_end|>"), 4
    rope = [hidden // heads // 2 - 2 * (hidden // heads // 2 * 3 // 8), *[hidden // heads // 2 * 3 // 8] * 2]
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_type": "default", "mrope_section": rope, "rope_theta": 10_000.0},
            "tie_word_embeddings": False,
            "bos_token_id": None,
            "eos_token_id": eos,
            "pad_token_id": 0,
        },
        vision_config={
            "depth": depth,
            "hidden_size": 48,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": hidden,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [depth - 1],
        },
        image_token_id=PAD,
        video_token_id=SPECIAL.index("<|video_pad|>"),
        vision_start_token_id=START,
        vision_end_token_id=END,
        tie_word_embeddings=False,
        eos_token_id=eos,
        pad_token_id=0,
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.08) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    image_processor = Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=168 * 140, patch_size=14, merge_size=2)
    Qwen2_5_VLProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    return folder


def picture(seed: int, size: tuple[int, int] = (168, 140)) -> bytes:
    """A PNG of random blocks; equal seeds give equal bytes."""
    noise = np.random.default_rng(seed).integers(0, 255, (size[1] // 7, size[0] // 7, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize(size, Image.Resampling.NEAREST).save(out, "PNG")
    return out.getvalue()


def image_tokens(png: bytes) -> int:
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    width, height = Image.open(io.BytesIO(png)).size
    h, w = smart_resize(height, width, 28, 56 * 56, 168 * 140)
    return h * w // 28**2


def trajectory(
    prompt: list[int], target: bytes, rng: np.random.Generator, *, turns: int = 2, show: bool = True, version: int = 0
) -> Trajectory:
    """Turns of random tokens with feedback between them; `show` puts a picture into every feedback."""
    ids = [*prompt, START, *[PAD] * image_tokens(target), END]
    ids += rng.integers(20, 250, 4).tolist()
    sampled, images = [False] * len(ids), [target]
    for turn in range(turns):
        if turn:
            extra = rng.integers(20, 250, int(rng.integers(2, 9))).tolist()
            if show:
                png = picture(int(rng.integers(1 << 30)), (168, 140) if rng.random() < 0.5 else (112, 168))
                extra += [START, *[PAD] * image_tokens(png), END]
                images.append(png)
            ids += extra
            sampled += [False] * len(extra)
        count = int(rng.integers(5, 30))
        ids += rng.integers(20, 250, count).tolist()
        sampled += [True] * count
    logprobs = [float(-abs(rng.normal(4, 1))) if s else 0.0 for s in sampled]
    versions = [version if s else -1 for s in sampled]
    total = float(rng.normal())
    return Trajectory(
        tuple(ids), tuple(sampled), tuple(logprobs), tuple(versions), tuple(images), (), "answer",
        Reward(total, 0.5, 1.0, 0.0),
    )  # fmt: skip


def groups(count: int = 3, size: int = 4, seed: int = 0, *, show: bool = True, max_turns: int = 3) -> list[Group]:
    """Groups whose members share prompt and target; numbers of turns differ."""
    rng = np.random.default_rng(seed)
    out = []
    for number in range(count):
        prompt, target = rng.integers(20, 250, 12).tolist(), picture(1000 + number)
        same = rng.integers(20, 250, 4)  # the tokens after the picture are part of the prompt: alike in a group
        members = []
        for _ in range(size):
            played = trajectory(prompt, target, rng, turns=int(rng.integers(1, max_turns + 1)), show=show)
            at = len(prompt) + 2 + image_tokens(target)
            ids = (*played.token_ids[:at], *same.tolist(), *played.token_ids[at + 4 :])
            members.append(Trajectory(ids, *list(vars(played).values())[1:]))
        out.append(Group(number, number, tuple(members)))
    return out
