"""What is asked of a vision-language judge, whoever answers it."""

from dataclasses import dataclass
from typing import Any

MAX_TOKENS = 2048  # of an answer; the bounds of the schema keep a sensible one far below


@dataclass(frozen=True)
class Question:
    """One request to the model: instructions, then target, render and a closing line. Pictures are PNG bytes. With a
    `rival` the two renders are compared with each other."""

    system: str
    target: bytes
    render: bytes
    closing: str
    schema: dict[str, Any]
    seed: int
    temperature: float = 0.0
    swapped: bool = False  # the render is shown before the target, or the rival as render A
    rival: bytes | None = None

    @property
    def shown(self) -> tuple[tuple[str, bytes], ...]:
        """The pictures with their headings, in the order in which they are shown."""
        if self.rival is not None:
            first, second = (self.rival, self.render) if self.swapped else (self.render, self.rival)
            return ("TARGET:", self.target), ("RENDER A:", first), ("RENDER B:", second)
        pair = ("TARGET:", self.target), ("RENDER:", self.render)
        return (pair[1], pair[0]) if self.swapped else pair
