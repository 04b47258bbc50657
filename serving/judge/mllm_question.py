"""What is asked of a vision-language judge, whoever answers it."""

from dataclasses import dataclass
from typing import Any

MAX_TOKENS = 2048  # of an answer; the bounds of the schema keep a sensible one far below


@dataclass(frozen=True)
class Question:
    """One request to the model: instructions, then target, render and a closing line. Pictures are PNG bytes."""

    system: str
    target: bytes
    render: bytes
    closing: str
    schema: dict[str, Any]
    seed: int
