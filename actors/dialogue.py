"""The conversation of Algorithm 1 as token ids: prompts, tags, parsing and an append-only history.

Guarantees: what was sampled is never decoded and encoded again; text of ours is encoded once, when it is appended.
Two lists grow side by side: `short_ids` with ONE placeholder per image, as the engine takes them, and `full_ids` with
the placeholders the image grid asks for, as the engine expands them and the learner needs them; `sampled`, `logprobs`
and `versions` are aligned with `full_ids`. Text that comes from outside (feedback) cannot inject control tokens.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from PIL import Image

from actors.answers import body_code
from actors.contracts import Sample
from actors.families.tokens import Expansion, control_tokens, harmless
from configs.schema import Prompts

STOPS = ("</tool_call>", "</answer>")
SENTINEL = "\x00turn\x00"

TURN = re.compile(
    r"\s*<think>(?P<think>.*?)</think>(?P<gap>[^<]*)<(?P<tag>tool_call|answer)>(?P<body>.*)</(?P=tag)>\s*", re.S
)
TAGS = re.compile(r"</?(?:think|tool_call|answer|tool_response)>")


def parse_turn(text: str, *, tool: bool = True) -> tuple[Literal["tool_call", "answer", "malformed"], str | None]:
    """Kind and code of one turn: `<think>..</think>` and then one tool call or one answer, nothing else.

    The body may be raw code, a fenced block, or JSON with `arguments.code`. `tool=False` (no tool was offered) makes a
    tool call malformed. A malformed turn has no code.
    """
    found = TURN.fullmatch(text)
    if found is None or TAGS.search(found["think"]) or TAGS.search(found["body"]):
        return "malformed", None
    if found["tag"] == "tool_call" and not tool:
        return "malformed", None
    code = body_code(found["body"])
    return ("malformed", None) if code is None else (found["tag"], code)  # type: ignore[return-value]


@dataclass(frozen=True)
class Codec:
    """Tokenizer, image grid and prompts of one policy: what turns words and pictures into ids."""

    processor: Any  # a Hugging Face processor: tokenizer, image_processor, chat template
    prompts: Prompts

    @classmethod
    def load(cls, model_path: str, prompts: Prompts) -> "Codec":
        from transformers import AutoProcessor

        return cls(AutoProcessor.from_pretrained(model_path), prompts)

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @cached_property
    def control(self) -> tuple[str, ...]:
        """Texts that are read as one control or vision token."""
        return control_tokens(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of sampled ids, tags kept, the end-of-message token dropped."""
        eos = self.tokenizer.eos_token_id
        kept = [i for i in ids if i != eos]
        return self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    @cached_property
    def expansion(self) -> Expansion:
        return Expansion(self.processor)

    def image_ids(self, image: bytes) -> tuple[int, ...]:
        """What the placeholder of one PNG becomes: placeholders, and with some families row and tile marks."""
        return self.expansion.of_size(*Image.open(io.BytesIO(image)).size)

    def image_tokens(self, image: bytes) -> int:
        """How many tokens one PNG takes."""
        return len(self.image_ids(image))

    def opening(self, direct: bool) -> str:
        """The first prompt as text: system, the target image, the request, and the start of the answer."""
        system = self.prompts.direct_system if direct else self.prompts.system
        first = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": self.prompts.user}]}
        messages = [{"role": "system", "content": system}] if system else []
        return self.processor.apply_chat_template([*messages, first], add_generation_prompt=True, tokenize=False)

    def reply(self, text: str, image: bool) -> str:
        """What stands between two turns of the policy: end of its message, the tool's response, a new start."""
        content: list[dict[str, str]] = [{"type": "text", "text": f"<tool_response>{text}</tool_response>"}]
        if image:
            content.insert(0, {"type": "image"})
        messages = [{"role": "assistant", "content": SENTINEL}, {"role": "user", "content": content}]
        whole = self.processor.apply_chat_template(
            [{"role": "system", "content": "-"}, {"role": "user", "content": "-"}, *messages],
            add_generation_prompt=True,
            tokenize=False,
        )
        return whole.split(SENTINEL)[1]

    def harmless(self, text: str) -> str:
        """Feedback quotes model-written code: break up whatever would be read as a control token or a tag."""
        while (plain := TAGS.sub("", text)) != text:  # what is left when a tag goes may be one, or a token
            text = plain
        return harmless(text, self.control)


@dataclass
class Dialogue:
    """One trajectory's history. Grows only at its end."""

    codec: Codec
    short_ids: list[int] = field(default_factory=list)
    full_ids: list[int] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)

    @classmethod
    def start(cls, codec: Codec, image: bytes, *, direct: bool = False) -> "Dialogue":
        """The opening prompt for one target image (PNG bytes); `direct` offers no tool."""
        dialogue = cls(codec)
        dialogue._append(codec.encode(codec.opening(direct)), [image])
        return dialogue

    def copy(self) -> "Dialogue":
        """The same history, to go on from apart."""
        lists = (self.short_ids, self.full_ids, self.sampled, self.logprobs, self.versions, self.images)
        return Dialogue(self.codec, *(list(held) for held in lists))  # type: ignore[arg-type]

    def add_sampled(self, sample: Sample) -> str:
        """Append one sampled turn as it is and return its text. ValueError: the engine saw another prompt."""
        if sample.prompt_tokens != len(self.full_ids):
            raise ValueError(
                f"the engine saw {sample.prompt_tokens} prompt tokens, the history has {len(self.full_ids)}"
            )
        self.short_ids.extend(sample.token_ids)
        self.full_ids.extend(sample.token_ids)
        self.sampled.extend([True] * len(sample.token_ids))
        self.logprobs.extend(sample.logprobs)
        self.versions.extend(sample.versions)
        return self.codec.decode(sample.token_ids)

    def add_text(self, text: str) -> None:
        """Append a teacher's turn, marked as sampled: how supervised traces are made."""
        ids = tuple(self.codec.encode(text))
        zeros = len(ids)
        self.add_sampled(Sample(ids, (0.0,) * zeros, (0,) * zeros, len(self.full_ids), "stop"))

    def add_feedback(self, text: str, image: bytes | None = None, *, last: bool = False) -> None:
        """Append the tool's response (words, optionally the render) and open the policy's next turn."""
        prompts = self.codec.prompts
        words = prompts.feedback.replace("{feedback}", self.codec.harmless(text))
        reply = self.codec.reply(words + (prompts.last_turn if last else ""), image is not None)
        if self.full_ids[-1] == self.codec.tokenizer.eos_token_id:  # the policy closed its message itself
            reply = reply.removeprefix(self.codec.tokenizer.eos_token)
        self._append(self.codec.encode(reply), [] if image is None else [image])

    def _append(self, ids: Sequence[int], images: Sequence[bytes]) -> None:
        """Append text of ours; every placeholder in `ids` is expanded to its image's grid. Raises ValueError when
        placeholders and images do not match."""
        pad = self.codec.expansion.token_id
        if list(ids).count(pad) != len(images):
            raise ValueError(f"{list(ids).count(pad)} image placeholders for {len(images)} images")
        waiting = iter(images)
        before = len(self.full_ids)
        for i in ids:
            self.full_ids.extend(self.codec.image_ids(next(waiting)) if i == pad else (i,))
        grown = len(self.full_ids) - before
        self.short_ids.extend(ids)
        self.sampled.extend([False] * grown)
        self.logprobs.extend([0.0] * grown)
        self.versions.extend([-1] * grown)
        self.images.extend(images)
