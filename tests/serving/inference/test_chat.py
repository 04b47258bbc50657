"""What is taken of a chat, what is refused, and how the fault is named."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from serving.http.errors import BadRequest
from serving.http.requests import checked
from serving.inference.chat import Chat, prepared

HELLO = [{"role": "user", "content": "hello"}]
ECHO = {  # message.model_dump() of OpenAI's client
    "content": "<answer>x</answer>", "refusal": None, "role": "assistant", "annotations": [], "audio": None,
    "function_call": None, "tool_calls": None,
}  # fmt: skip


def taken(**chat: Any) -> dict[str, Any]:
    asked = checked(Chat, json.dumps({"messages": HELLO, **chat}).encode())
    return asyncio.run(prepared(asked, ("<|im_end|>",), 1_000_000, 5))


def refused(**chat: Any) -> BadRequest:
    with pytest.raises(BadRequest) as error:
        taken(**chat)
    return error.value


@pytest.mark.parametrize(
    ("name", "idle", "wanted"),
    [
        ("tools", [None, []], [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", [None, {"type": "text"}], {"type": "json_object"}),
        ("store", [None, False], True),
        ("logit_bias", [None, {}], {"5": 1}),
        ("tool_choice", [None, "none", "auto"], "required"),
        ("parallel_tool_calls", [None, False, True], "x"),
        ("modalities", [None, ["text"]], ["audio"]),
        ("service_tier", ["auto"], "flex"),
        ("audio", [None], {"voice": "x"}),
        ("functions", [[]], [{"name": "f"}]),
    ],
)
def test_a_value_without_effect_is_taken_and_one_with_is_refused(name: str, idle: list[Any], wanted: Any) -> None:
    for value in idle:
        assert taken(**{name: value}) == taken()
    found = refused(**{name: wanted})
    assert found.param == name and f"`{name}`" in found.message


def test_identifiers_are_ignored() -> None:
    assert taken(user="u", metadata={"a": "b"}, safety_identifier="s", prompt_cache_key="k") == taken()


def test_settings_without_a_stream_or_logprobs_have_no_effect() -> None:
    assert "stream_options" not in taken(stream_options={"include_usage": False}) and "top_logprobs" not in taken(
        top_logprobs=0, logprobs=False
    )
    assert refused(stream_options={"include_usage": True}).param == "stream_options"
    assert taken(stream=True, stream_options={"include_usage": True})["stream_options"] == {"include_usage": True}


def test_an_answer_may_be_sent_back_as_it_came() -> None:
    turns = [*HELLO, ECHO, {"role": "user", "content": "more"}]
    assert taken(messages=turns)["messages"][1] == {"role": "assistant", "content": "<answer>x</answer>"}
    split = {**ECHO, "reasoning_content": "why", "content": "\n<answer>x</answer>"}
    assert taken(messages=[*HELLO, split])["messages"][1]["content"] == "<think>why</think>\n<answer>x</answer>"
    assert taken(messages=[*HELLO, {**ECHO, "content": None}])["messages"][1]["content"] == ""
    assert refused(messages=[{"role": "user", "content": None}]).param == "messages.0.content"
    call = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert refused(messages=[*HELLO, {**ECHO, "tool_calls": call}]).param == "messages.1.tool_calls"


def test_roles_and_limits() -> None:
    assert taken(messages=[{"role": "developer", "content": "d"}, *HELLO])["messages"][0]["role"] == "system"
    assert taken(n=8)["n"] == 8 and refused(n=9).param == "n"
    assert taken(max_completion_tokens=3)["max_completion_tokens"] == 3


@pytest.mark.parametrize(
    ("part", "param", "expected"),
    [
        ({"type": "input_audio", "input_audio": {}}, "messages.0.content.1", "text or image_url"),
        ({"type": "image_url"}, "messages.0.content.1.image_url", "required"),
        ({"type": "image_url", "image_url": {"url": 3}}, "messages.0.content.1.image_url.url", "string"),
        ({"type": "image_url", "image_url": {"url": "x", "detail": "max"}}, "messages.0.content.1.image_url.detail",
         "'auto', 'low' or 'high'"),
        ({"type": "image_url", "image_url": {"url": "x", "size": 3}}, "messages.0.content.1.image_url.size",
         "not supported"),
        ({"type": "text", "text": None}, "messages.0.content.1.text", "string"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}}, "messages.0.content.1", "not base64"),
        ("x", "messages.0.content.1", "text or image_url"),
    ],
)  # fmt: skip
def test_a_fault_inside_a_part_names_the_part_and_the_fault(part: Any, param: str, expected: str) -> None:
    found = refused(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
    assert found.param == param and expected in found.message, found.message


def test_base64_may_come_in_lines_and_low_detail_is_small(picture: Callable[..., bytes]) -> None:
    png = picture("red", (900, 700))

    def shown(text: str, detail: str) -> str:
        url = {"url": f"data:image/png;base64,{text}", "detail": detail}
        content = taken(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": url}]}])
        return content["messages"][0]["content"][0]["image_url"]["url"]

    plain, lines = base64.b64encode(png).decode(), base64.encodebytes(png).decode().replace("\n", "\r\n")
    assert shown(plain, "high") == shown(lines, "auto") != shown(plain, "low")
