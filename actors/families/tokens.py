"""Control tokens of any tokenizer, and how a picture stands in a prompt.

Guarantees: read from the model's own tokenizer and processor, so a family needs no list of names; a placeholder is ONE
id a picture in `short` form, and its expansion is what the processor itself makes of it.
"""

import re
from functools import cache
from typing import Any

from PIL import Image

PAD = "<|image_pad|>"
# Written into prompts as ordinary tokens by some tokenizers of these families: never text, never sampled.
VISION = (PAD, "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
# Of a processor or tokenizer: the names of tokens that stand for pictures.
NAMED = (
    "image_token", "video_token", "start_image_token", "end_image_token", "context_image_token", "fake_image_token",
    "global_image_token", "boi_token", "eoi_token", "image_break_token", "image_end_token",
)  # fmt: skip
ROWS = re.compile(r"<row_\d+_col_\d+>")  # SmolVLM's tiles


def banned_ids(tokenizer: Any) -> tuple[int, ...]:
    """Ids that must never be sampled: vision and control tokens, the end of a message excepted.

    A sampled image placeholder corrupts every later prompt without an error, so the engine gets these as a logit bias
    and the learner masks the same ids.
    """
    known = tokenizer.get_vocab()
    ids = {*tokenizer.all_special_ids, *(known[t] for t in control_tokens(tokenizer) if t in known)}
    return tuple(sorted(ids - {tokenizer.eos_token_id}))


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Texts that a tokenizer reads as one control or vision token, longest first."""
    added = {str(t) for t in tokenizer.added_tokens_decoder.values() if t.special or ROWS.fullmatch(str(t))}
    named = {t for name in NAMED if isinstance(t := getattr(tokenizer, name, None), str)}
    known = tokenizer.get_vocab()
    return tuple(sorted({*added, *tokenizer.all_special_tokens, *VISION, *(t for t in named if t in known)},
                        key=lambda t: (-len(t), t)))  # fmt: skip


def harmless(text: str, control: tuple[str, ...]) -> str:
    """`text` in which nothing is read as a control token: an image placeholder without an image corrupts a prompt."""
    for token in control:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def placeholder(processor: Any) -> str:
    """The token that stands once for every picture in what the chat template writes."""
    found = getattr(processor, "image_token", None)
    return found if isinstance(found, str) else PAD


class Expansion:
    """Ids that a picture's placeholder becomes, by the processor; they depend on the picture's size alone."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._token = placeholder(processor)
        self.token_id: int = processor.tokenizer.convert_tokens_to_ids(self._token)
        self.of_size = cache(self._of_size)

    def _of_size(self, width: int, height: int) -> tuple[int, ...]:
        handler = self._processor.image_processor
        if hasattr(handler, "get_number_of_image_patches") and hasattr(handler, "merge_size"):
            count = int(handler.get_number_of_image_patches(height, width, {})) // handler.merge_size**2
            return (self.token_id,) * count
        blank = Image.new("RGB", (width, height), "white")
        made = self._processor(text=[self._token], images=[blank], add_special_tokens=False)
        return tuple(int(i) for i in made["input_ids"][0])
