"""Sizes of published vision-language models, for plans without the model or a network.

Guarantees: numbers are those of each model's config.json on the Hugging Face hub; parameters are computed from them and
agree with transformers' own model of that shape (a test builds it on the meta device).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A Qwen-VL language model, and the parameters of its vision tower."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int  # dimension of a head
    intermediate: int
    vocabulary: int
    tied: bool  # input and output embeddings are one
    vision: float  # parameters of the vision tower and its merger

    @property
    def layer(self) -> float:
        """Parameters of one layer."""
        attention = self.hidden * self.head * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def embeddings(self) -> float:
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> float:
        return self.layers * self.layer + self.embeddings + self.vision

    @property
    def cache_bytes(self) -> float:
        """Keys and values of one token in bfloat16, all layers."""
        return 2.0 * self.layers * self.kv_heads * self.head * 2


MODELS = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(36, 2048, 16, 2, 128, 11_008, 151_936, True, 0.669e9),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(28, 3584, 28, 4, 128, 18_944, 152_064, False, 0.677e9),
    "Qwen/Qwen2.5-VL-32B-Instruct": Shape(64, 5120, 40, 8, 128, 27_648, 152_064, False, 0.689e9),
    "Qwen/Qwen2.5-VL-72B-Instruct": Shape(80, 8192, 64, 8, 128, 29_568, 152_064, False, 0.705e9),
    "Qwen/Qwen3-VL-4B-Instruct": Shape(36, 2560, 32, 8, 128, 9_728, 151_936, True, 0.415e9),
    "Qwen/Qwen3-VL-8B-Instruct": Shape(36, 4096, 32, 8, 128, 12_288, 151_936, False, 0.576e9),
}
