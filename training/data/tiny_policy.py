"""The embedded policy: Qwen2.5-VL's architecture with a few million parameters, in Hugging Face layout.

Guarantees: everything that works on Qwen2.5-VL-7B-Instruct works on it unchanged (processor, chat template, vLLM,
`from_pretrained`); the same seed gives the same files. The output layer is not tied to the embedding: on CPUs vLLM
keeps a packed copy of a tied one that a weight sync does not reach.
"""

import logging
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
TAGS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "<tool_response>",
    "</tool_response>",
)  # fmt: skip
VOCABULARY = 1024
QUOTED = r"[A-Za-z:]+(?=')"  # what is quoted in a program is a word wherever it stands
APART = (r",?\d", r"\n")  # digits and line ends are never part of a longer token
CHAT_TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message['role'] }}\n"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- else -%}{{ part['text'] }}{%- endif -%}{%- endfor -%}{%- endif -%}<|im_end|>\n"
    "{%- endfor -%}{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)


def tokenizer(texts: Iterable[str], words: str = QUOTED, apart: Sequence[str] = APART) -> Any:
    """A byte-level BPE of at most VOCABULARY entries that keeps apart what the patterns `apart` find, and what `words`
    finds; every tag and control token is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (*apart, words)),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[s for s in SPECIAL if s not in ("<|im_end|>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    fast.add_tokens(list(TAGS))
    return fast


def configuration(tokens: Any) -> Any:
    """About three million parameters: vision 3 x 128, text 4 x 192. Heads of 32, the least vLLM's CPU kernel takes."""
    from transformers import Qwen2_5_VLConfig

    ids = {name: tokens.convert_tokens_to_ids(name) for name in SPECIAL}
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]}
    ends = {"eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"], "bos_token_id": None}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 6,
            "num_key_value_heads": 6,
            "max_position_embeddings": 4096,
            "rope_parameters": rope,
            "tie_word_embeddings": False,
            **ends,
        },
        vision_config={
            "depth": 3,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "out_hidden_size": 192,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [0, 1, 2],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
        **ends,
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    return config


def processor(tokens: Any) -> Any:
    """Patches of 14, merged two by two; pictures centred near white, but not on it: in an empty patch of zeros the
    first norm would amplify rounding noise (log-probabilities then differ by 1e-3 between engine and learner)."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    pictures = Qwen2VLImageProcessor(
        min_pixels=56 * 56,
        max_pixels=196 * 168,
        patch_size=14,
        merge_size=2,
        image_mean=[0.9] * 3,
        image_std=[0.3] * 3,
    )
    return Qwen2_5_VLProcessor(
        image_processor=pictures, tokenizer=tokens, video_processor=Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    )


def build(
    path: Path,
    seed: int,
    texts: Iterable[str] | None = None,
    words: str = QUOTED,
    start: Path | None = None,
    apart: Sequence[str] = APART,
) -> Path:
    """Write an untrained policy to `path`; `texts` train the tokenizer (the embedded charts' programs by default), and
    `words` and `apart` are what it keeps apart. `start`: a trained policy, of which it takes all weights but the
    embeddings of tokens that the other tokenizer does not know."""
    from transformers import GenerationConfig, Qwen2_5_VLForConditionalGeneration

    if texts is None:
        from training.data.synthetic_charts import draw

        texts = [draw(i, seed, "train").program for i in range(300)]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    tokens = tokenizer(texts, words, apart)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(configuration(tokens)).float()
    if start is not None:
        _take_over(model, tokens, start)
    model.generation_config = GenerationConfig(
        eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id, do_sample=True
    )
    fresh = path.with_name(f".{path.name}.part")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    processor(tokens).save_pretrained(fresh)
    fresh.rename(path)
    return path


@torch.no_grad()
def _take_over(model: Any, tokens: Any, start: Path) -> None:
    """Weights of the policy at `start`; rows of the embeddings by the token that they stand for."""
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    other = Qwen2_5_VLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    known = AutoTokenizer.from_pretrained(start).get_vocab()
    both = [(mine, known[token]) for token, mine in tokens.get_vocab().items() if token in known]
    mine, theirs = (torch.tensor(side) for side in zip(*both, strict=True))
    for part in ("get_input_embeddings", "get_output_embeddings"):
        weight = getattr(model, part)().weight
        rows = weight.clone()
        rows[mine] = getattr(other, part)().weight[theirs]
        getattr(other, part)().weight.copy_(rows)
    model.load_state_dict(other.state_dict())
