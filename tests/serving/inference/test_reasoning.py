"""Think part and content: split alike whole and in pieces."""

import json
import random

import pytest

from serving.inference.reasoning import Chunks, Splitter, restored, split

TEXTS = {
    "<think>a < b</think>\n<answer>c</answer>": ("a < b", "\n<answer>c</answer>"),
    "\n <think>a</think>b</think>": ("a", "b</think>"),
    "<think>cut </thin": ("cut </thin", ""),
    "<answer>x</answer>": ("", "<answer>x</answer>"),
    "<thi": ("", "<thi"),
    "": ("", ""),
    "<think></think>": ("", ""),
}


@pytest.mark.parametrize("text", TEXTS)
def test_any_pieces_give_what_the_whole_gives(text: str) -> None:
    assert split(text) == TEXTS[text]
    for seed in range(50):
        dice, splitter, rest, found = random.Random(seed), Splitter(), text, ["", ""]
        while rest:
            size = dice.randint(1, 4)
            piece, rest = rest[:size], rest[size:]
            found = [a + b for a, b in zip(found, splitter.push(piece), strict=True)]
        assert tuple(a + b for a, b in zip(found, splitter.end(), strict=True)) == TEXTS[text]


def test_a_message_sent_back_is_the_text_it_was() -> None:
    text = "<think>why</think>\n<answer>c</answer>"
    assert restored(*split(text)) == text


def test_choices_of_a_stream_are_split_apart() -> None:
    chunks, got = Chunks(), {0: ["", ""], 1: ["", ""]}
    for index, text, finish in ((0, "<thi", None), (1, "no", None), (0, "nk>a</think>b", None), (0, "", "stop")):
        event = {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}
        out = json.loads(chunks.push(f"data: {json.dumps(event)}\n\n").removeprefix("data: "))
        delta = out["choices"][0]["delta"]
        got[index][0] += delta.get("reasoning_content", "")
        got[index][1] += delta.get("content", "")
    assert got == {0: ["a", "b"], 1: ["", "no"]} and chunks.push("data: [DONE]\n\n") == "data: [DONE]\n\n"
