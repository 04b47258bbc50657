"""The think part of an answer apart from the rest, as clients of reasoning models read it (`reasoning_content`).

Guarantees: the pieces of a stream, joined, are exactly what the whole text is split into; an answer that does not open
with <think> is content alone; nothing is held back longer than it might still be part of a tag.
"""

import json
from typing import Any

OPEN, CLOSE = "<think>", "</think>"


class Splitter:
    """One answer's text, piece by piece."""

    def __init__(self) -> None:
        self._held = ""  # not yet decided
        self._state = "opening"  # opening, thinking or answering

    def push(self, text: str) -> tuple[str, str]:
        """(reasoning, content) that `text` adds."""
        self._held += text
        if self._state == "opening":
            start = self._held.lstrip()
            if start.startswith(OPEN):
                self._state, self._held = "thinking", start[len(OPEN) :]
            elif OPEN.startswith(start):
                return "", ""
            else:
                self._state = "answering"
        reasoning = ""
        if self._state == "thinking":
            reasoning, closed, rest = self._held.partition(CLOSE)
            if closed:
                self._state, self._held = "answering", rest
            else:
                kept = _partial(reasoning)
                self._held = reasoning[len(reasoning) - kept :]
                return reasoning[: len(reasoning) - kept], ""
        content, self._held = self._held, ""
        return reasoning, content

    def end(self) -> tuple[str, str]:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held)


def _partial(text: str) -> int:
    """Characters at the end of `text` that a closing tag may begin with."""
    return next((n for n in range(min(len(text), len(CLOSE) - 1), 0, -1) if CLOSE.startswith(text[-n:])), 0)


def split(text: str) -> tuple[str, str]:
    """(reasoning, content) of a whole answer."""
    splitter = Splitter()
    first, last = splitter.push(text), splitter.end()
    return first[0] + last[0], first[1] + last[1]


def restored(reasoning: str, content: str) -> str:
    """The text that `split` gave these two of."""
    return f"{OPEN}{reasoning}{CLOSE}{content}"


def separate(answer: dict[str, Any]) -> dict[str, Any]:
    """A chat.completion with `reasoning_content` beside the content of every message."""
    for choice in answer["choices"]:
        message = choice["message"]
        message["reasoning_content"], message["content"] = split(message.get("content") or "")
    return answer


class Chunks:
    """A stream of chat.completion.chunk events, each with its share of `reasoning_content`."""

    def __init__(self) -> None:
        self._splitters: dict[int, Splitter] = {}

    def push(self, event: str) -> str:
        """The same event (`data: JSON`, or `data: [DONE]`) with the text of its choices split."""
        data = event.removeprefix("data: ").strip()
        if not event.startswith("data: ") or data == "[DONE]":
            return event
        chunk = json.loads(data)
        for choice in chunk.get("choices", ()):
            splitter = self._splitters.setdefault(choice["index"], Splitter())
            delta = choice["delta"]
            reasoning, content = splitter.push(delta.pop("content", None) or "")
            if choice.get("finish_reason"):
                more, rest = splitter.end()
                reasoning, content = reasoning + more, content + rest
            if reasoning:
                delta["reasoning_content"] = reasoning
            if content or "role" in delta:
                delta["content"] = content
        return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
