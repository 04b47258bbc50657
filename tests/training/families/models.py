"""Every family in tiny random form, from the library's own configuration: a folder as one downloads it."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from training.data import tiny_policy

HEAD = {"num_attention_heads": 6, "num_key_value_heads": 6, "hidden_size": 192, "num_hidden_layers": 3}
TEXT = {**HEAD, "intermediate_size": 384, "max_position_embeddings": 4096}
VISION = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
WORDS = ("import matplotlib.pyplot as plt\nplt.bar([1, 2], [3, 4])\nplt.show()\n",) * 8
NORM = {"image_mean": [0.9] * 3, "image_std": [0.3] * 3}


def template(before: str, token: str, after: str) -> str:
    return tiny_policy.CHAT_TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", before + token + after)


def tokenizer(*special: str) -> Any:
    tokens = tiny_policy.tokenizer(WORDS)
    tokens.add_special_tokens({"additional_special_tokens": [*special]}, replace_extra_special_tokens=False)
    return tokens


def named_tokenizer(**special: str) -> Any:
    """A tokenizer that knows its picture tokens by name, as InternVL's and SmolVLM's do."""
    from transformers import PreTrainedTokenizerFast

    tokens = tokenizer(*special.values())
    return PreTrainedTokenizerFast(
        tokenizer_object=tokens._tokenizer, eos_token=tokens.eos_token, pad_token=tokens.pad_token,
        clean_up_tokenization_spaces=False, extra_special_tokens=special,
        additional_special_tokens=[t for t in tokens.all_special_tokens if t not in special.values()],
    )  # fmt: skip


def ends(tokens: Any) -> dict[str, Any]:
    return {"eos_token_id": tokens.eos_token_id, "pad_token_id": tokens.pad_token_id, "bos_token_id": None}


def grid_processor(kind: str, tokens: Any, chat: str, patch: int = 14) -> Any:
    import transformers

    qwen = {"min_pixels": 56 * 56, "max_pixels": 168 * 168}
    glm = {"size": {"shortest_edge": 56 * 56 * 2, "longest_edge": 168 * 168 * 2}}
    pictures, videos = ("Glm4vImageProcessor", "Glm4vVideoProcessor") if kind == "Glm4v" else (
        "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor" if kind == "Qwen3VL" else "Qwen2VLVideoProcessor")  # fmt: skip
    limits = glm if kind == "Glm4v" else qwen
    made = getattr(transformers, pictures)(patch_size=patch, merge_size=2, **limits, **NORM)
    video = getattr(transformers, videos)()
    return getattr(transformers, f"{kind}Processor")(
        image_processor=made, tokenizer=tokens, video_processor=video, chat_template=chat
    )


def qwen_ids(tokens: Any) -> dict[str, int]:
    names = {"image": "image_pad", "video": "video_pad", "vision_start": "vision_start", "vision_end": "vision_end"}
    return {f"{name}_token_id": tokens.convert_tokens_to_ids(f"<|{token}|>") for name, token in names.items()}


def qwen2_vl() -> tuple[Any, Any]:
    from transformers import Qwen2VLConfig

    tokens = tokenizer()
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]}
    ids = qwen_ids(tokens)
    config = Qwen2VLConfig(
        text_config={**TEXT, "vocab_size": len(tokens), "rope_parameters": rope, **ends(tokens)},
        vision_config={"depth": 2, "embed_dim": 128, "hidden_size": 192, "num_heads": 4, "mlp_ratio": 2},
        **ids, **ends(tokens),
    )  # fmt: skip
    return config, grid_processor("Qwen2VL", tokens, tiny_policy.CHAT_TEMPLATE)


def _qwen3(moe: bool) -> tuple[Any, Any]:
    from transformers import Qwen3VLConfig, Qwen3VLMoeConfig

    tokens = tokenizer()
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    ids = qwen_ids(tokens)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
    config = (Qwen3VLMoeConfig if moe else Qwen3VLConfig)(
        text_config={**TEXT, "vocab_size": len(tokens), "head_dim": 32, "rope_parameters": rope, **ends(tokens),
                     "tie_word_embeddings": not moe, **(experts if moe else {})},
        vision_config={"depth": 3, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "out_hidden_size": 192,
                       "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
        tie_word_embeddings=not moe, **ids, **ends(tokens),
    )  # fmt: skip
    return config, grid_processor("Qwen3VL", tokens, tiny_policy.CHAT_TEMPLATE, patch=16)


def qwen3_vl() -> tuple[Any, Any]:
    """With a tied head."""
    return _qwen3(moe=False)


def qwen3_vl_moe() -> tuple[Any, Any]:
    return _qwen3(moe=True)


def qwen3_5() -> tuple[Any, Any]:
    """Linear attention in all layers but the last: bfloat16 alone on CPUs."""
    from transformers import Qwen3_5Config

    tokens = tokenizer()
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True,
            "partial_rotary_factor": 0.5}  # fmt: skip
    linear = {"linear_key_head_dim": 64, "linear_value_head_dim": 64, "linear_num_key_heads": 2,
              "linear_num_value_heads": 4}  # fmt: skip
    config = Qwen3_5Config(
        text_config={**TEXT, "num_hidden_layers": 4, "vocab_size": len(tokens), "head_dim": 64,
                     "num_attention_heads": 3, "num_key_value_heads": 3, "rope_parameters": rope, **linear,
                     **ends(tokens), "tie_word_embeddings": False},
        vision_config={"depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "out_hidden_size": 192,
                       "num_position_embeddings": 64},
        tie_word_embeddings=False, **qwen_ids(tokens), **ends(tokens),
    )  # fmt: skip
    return config, grid_processor("Qwen3VL", tokens, tiny_policy.CHAT_TEMPLATE, patch=16)


def glm4v() -> tuple[Any, Any]:
    return _glm(moe=False)


def glm4v_moe() -> tuple[Any, Any]:
    return _glm(moe=True)


def _glm(moe: bool) -> tuple[Any, Any]:
    from transformers import Glm4vConfig, Glm4vMoeConfig

    names = ("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>",
             "<|end_of_video|>")  # fmt: skip
    tokens = tokenizer(*names)
    image, video, image_start, image_end, video_start, video_end = tokens.convert_tokens_to_ids(list(names))
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3], "partial_rotary_factor": 0.5}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "head_dim": 32,
               "use_qk_norm": False}  # fmt: skip
    config = (Glm4vMoeConfig if moe else Glm4vConfig)(
        # without attention_bias vLLM leaves the biases out, and says nothing
        text_config={**TEXT, "vocab_size": len(tokens), "rope_parameters": rope, "attention_bias": True, **ends(tokens),
                     **(experts if moe else {})},
        vision_config={"depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "out_hidden_size": 192,
                       "image_size": 112},
        image_token_id=image, video_token_id=video, image_start_token_id=image_start, image_end_token_id=image_end,
        video_start_token_id=video_start, video_end_token_id=video_end, **ends(tokens),
    )  # fmt: skip
    return config, grid_processor("Glm4v", tokens, template("<|begin_of_image|>", "<|image|>", "<|end_of_image|>"))


def _pixtral(tokens: Any, merge: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
    from transformers import PixtralImageProcessor, PixtralProcessor

    vision = {**VISION, "model_type": "pixtral", "image_size": 168, "patch_size": 14, "head_dim": 32}
    text = {**TEXT, "model_type": "mistral", "vocab_size": len(tokens), "head_dim": 32, "sliding_window": None}
    pictures = PixtralImageProcessor(size={"longest_edge": 168}, patch_size={"height": 14, "width": 14}, **NORM)
    processor = PixtralProcessor(
        image_processor=pictures, tokenizer=tokens, patch_size=14, spatial_merge_size=merge,
        chat_template=template("", "[IMG]", ""),
    )  # fmt: skip
    return vision, {**text, **ends(tokens)}, processor


def pixtral() -> tuple[Any, Any]:
    from transformers import LlavaConfig

    tokens = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    vision, text, processor = _pixtral(tokens, 1)
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokens.convert_tokens_to_ids("[IMG]"),
        vision_feature_layer=-1, vision_feature_select_strategy="full", **ends(tokens),
    ), processor  # fmt: skip


def mistral3() -> tuple[Any, Any]:
    from transformers import Mistral3Config

    tokens = tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    vision, text, processor = _pixtral(tokens, 2)
    return Mistral3Config(
        vision_config=vision, text_config=text, image_token_index=tokens.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2, tie_word_embeddings=False, **ends(tokens),
    ), processor  # fmt: skip


def llava_onevision() -> tuple[Any, Any]:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    tokens = tokenizer("<image>", "<video>")
    points = [[112, 56], [56, 112], [112, 112]]
    config = LlavaOnevisionConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14,
                       "vision_use_head": False},
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokens), **ends(tokens)},
        image_token_index=tokens.convert_tokens_to_ids("<image>"), image_grid_pinpoints=points,
        video_token_index=tokens.convert_tokens_to_ids("<video>"), **ends(tokens),
    )  # fmt: skip
    pictures = LlavaOnevisionImageProcessor(size={"height": 56, "width": 56}, image_grid_pinpoints=points, **NORM)
    processor = LlavaOnevisionProcessor(
        image_processor=pictures, tokenizer=tokens, num_image_tokens=16, vision_feature_select_strategy="full",
        video_processor=LlavaOnevisionVideoProcessor(size={"height": 56, "width": 56}),
        chat_template=template("", "<image>", ""),
    )  # fmt: skip
    return config, processor


def internvl() -> tuple[Any, Any]:
    """InternVL3 and 3.5 in the form of `-hf`: tiles of one size."""
    from transformers import GotOcr2ImageProcessor, InternVLConfig, InternVLProcessor, InternVLVideoProcessor

    tokens = named_tokenizer(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>", video_token="<video>"
    )
    config = InternVLConfig(
        vision_config={**VISION, "image_size": 112, "patch_size": 14},
        text_config={**TEXT, "model_type": "qwen2", "vocab_size": len(tokens), "tie_word_embeddings": False,
                     **ends(tokens)},
        image_token_id=tokens.convert_tokens_to_ids("<IMG_CONTEXT>"), image_seq_length=16, tie_word_embeddings=False,
        **ends(tokens),
    )  # fmt: skip
    pictures = GotOcr2ImageProcessor(size={"height": 112, "width": 112}, max_patches=4, crop_to_patches=True, **NORM)
    processor = InternVLProcessor(
        image_processor=pictures, tokenizer=tokens, image_seq_length=16,
        video_processor=InternVLVideoProcessor(size={"height": 112, "width": 112}),
        chat_template=template("", "<IMG_CONTEXT>", ""),
    )  # fmt: skip
    return config, processor


def smolvlm() -> tuple[Any, Any]:
    from transformers import SmolVLMConfig, SmolVLMImageProcessor, SmolVLMProcessor, SmolVLMVideoProcessor

    rows = {f"row{r}{c}_token": f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)}
    tokens = named_tokenizer(
        image_token="<image>", fake_image_token="<fake_token_around_image>", global_image_token="<global-img>",
        end_of_utterance_token="<end_of_utterance>", **rows,
    )  # fmt: skip
    config = SmolVLMConfig(
        vision_config={**VISION, "image_size": 112, "patch_size": 14},
        text_config={**TEXT, "model_type": "llama", "vocab_size": len(tokens), "tie_word_embeddings": False,
                     **ends(tokens)},
        image_token_id=tokens.convert_tokens_to_ids("<image>"), scale_factor=2, tie_word_embeddings=False,
        **ends(tokens),
    )  # fmt: skip
    edges = {"size": {"longest_edge": 224}, "max_image_size": {"longest_edge": 112}}
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**edges, do_image_splitting=True, **NORM), tokenizer=tokens,
        video_processor=SmolVLMVideoProcessor(), image_seq_len=16, chat_template=template("", "<image>", ""),
    )  # fmt: skip
    return config, processor


FAMILIES: dict[str, Callable[[], tuple[Any, Any]]] = {
    f.__name__: f
    for f in (
        qwen2_vl,
        qwen3_vl,
        qwen3_vl_moe,
        qwen3_5,
        glm4v,
        glm4v_moe,
        internvl,
        mistral3,
        smolvlm,
        pixtral,
        llava_onevision,
    )
}


def build(name: str, folder: Path, scale: float = 3.0) -> Path:
    """Write family `name` to `folder`, every weight random and of a size that matters."""
    from transformers import AutoModelForImageTextToText, GenerationConfig

    logging.getLogger("transformers").setLevel(logging.ERROR)
    config, processor = FAMILIES[name]()
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale) if parameter.dim() > 1 else parameter.add_(torch.randn_like(parameter) * 0.05)
    end = processor.tokenizer
    model.generation_config = GenerationConfig(eos_token_id=end.eos_token_id, pad_token_id=end.pad_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    file = folder / "model.safetensors"
    weights = dict(in_hub_layout(name, value, config) for name, value in load_file(file).items())
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def in_hub_layout(name: str, value: torch.Tensor, config: Any) -> tuple[str, torch.Tensor]:
    """What published checkpoints have and transformers does not write: SigLIP's towers have one level more, and
    Qwen3-VL-MoE's experts are transposed."""
    if config.vision_config.model_type.startswith("siglip"):
        for part in ("encoder", "embeddings", "post_layernorm"):
            name = name.replace(f"vision_tower.{part}", f"vision_tower.vision_model.{part}")
    if config.model_type == "qwen3_vl_moe" and value.dim() == 3 and ".experts." in name:
        value = value.transpose(1, 2).contiguous()
    return name, value
