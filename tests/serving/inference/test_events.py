"""What a listener gets of an episode, over a scripted policy with real prompts and a real renderer's answers."""

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.contracts import Difference, RenderResult, Sample, Verdict
from actors.dialogue import Codec
from actors.rollout.episode import Environment, Rules, episode
from configs.schema import Feedback, Prompts, RewardWeights, Rollout, Sampling
from serving.inference.events import Event, emitting, frame, joined

CALL, ANSWER = "<think>t</think><tool_call>{}</tool_call>", "<think>t</think><answer>{}</answer>"


class Script:
    """Says its lines in order, some tokens at a time."""

    def __init__(self, codec: Codec, lines: Sequence[str]) -> None:
        self.codec, self.lines = codec, list(lines)

    async def sample(
        self,
        prompt_ids: Sequence[int],
        images: Sequence[bytes],
        *,
        max_tokens: int,
        session: str,
        heard: Callable[[str], None] | None = None,
    ) -> Sample:
        line = self.lines.pop(0)
        ids = tuple(self.codec.encode(line))
        if heard is not None:
            for end in (3, 3, 7, len(line)):
                heard(line[:end])
            heard(line + self.codec.tokenizer.eos_token)
        seen = len(prompt_ids) - len(images) + sum(self.codec.image_tokens(i) for i in images)
        return Sample(ids, (-1.0,) * len(ids), (0,) * len(ids), seen, "stop")


class Tools:
    def __init__(self, png: bytes) -> None:
        self.png = png

    async def render(self, source: str, domain: str) -> RenderResult:
        if "bad" in source:
            return RenderResult(False, 0.01, kind="exception", message="NameError")
        return RenderResult(True, 0.01, self.png, (168, 140))

    async def compare(self, target: bytes, render: bytes, domain: str) -> Verdict:
        return Verdict(0.4, "redder", "test", (Difference("colour", 2, "bar", "is blue"),))


@pytest.fixture(scope="module")
def codec(tiny_model: Path, prompts: Prompts) -> Codec:
    return Codec.load(str(tiny_model), prompts)


@pytest.fixture
def listen(codec: Codec, picture: Callable[..., bytes]) -> Callable[..., tuple[list[Event], Any, Any]]:
    """Events, the trajectory, and the trajectory without a listener."""

    def run(*lines: str, tool: bool = True) -> tuple[list[Event], Any, Any]:
        rules = Rules("chart", Rollout(max_turns=4, single_turn=not tool), Sampling(), Feedback(), RewardWeights())
        events: list[Event] = []
        tools = Tools(picture("blue"))
        envs = [Environment(Script(codec, lines), tools, tools, codec) for _ in range(2)]  # type: ignore[arg-type]
        envs[0] = emitting(envs[0], envs[0].policy, events.append, tool=tool)  # type: ignore[arg-type]
        heard, plain = (asyncio.run(episode(picture(), env, rules, "s")) for env in envs)
        return events, heard, plain

    return run


def test_every_step_is_sent_in_order(listen: Callable[..., Any], picture: Callable[..., bytes]) -> None:
    events, heard, plain = listen(CALL.format("bad"), CALL.format("good"), ANSWER.format("better"))
    assert heard.token_ids == plain.token_ids and heard.reward == plain.reward
    steps = [f"{n} {d['turn']}" for n, d in events if n != "text"]
    assert steps == ["code 1", "render 1", "code 2", "render 2", "verdict 2", "code 3", "render 3", "verdict 3"]
    renders = [d for n, d in events if n == "render"]
    assert renders[0] == {"turn": 1, "ok": False, "kind": "exception", "message": "NameError", "picture": None}
    assert base64.b64decode(renders[1]["picture"]) == picture("blue")
    [verdict, _] = [d for n, d in events if n == "verdict"]
    assert verdict["score"] == 0.4 and verdict["differences"][0]["what"] == "is blue"


def test_the_pieces_of_a_turn_are_its_text(listen: Callable[..., Any]) -> None:
    events, heard, _ = listen(CALL.format("good"), ANSWER.format("good"))
    for number, turn in enumerate(heard.turns, 1):
        pieces = [d["delta"] for n, d in events if n == "text" and d["turn"] == number]
        assert "".join(pieces) == turn.text and all(pieces)
    together = joined(events)
    assert [n for n, _ in together] == ["text", "code", "render", "verdict"] * 2
    assert together[0][1]["delta"] == heard.turns[0].text


def test_without_the_tool_a_call_is_malformed(listen: Callable[..., Any]) -> None:
    events, heard, _ = listen(CALL.format("good"), tool=False)
    assert [n for n, _ in joined(events)] == ["text", "code"]
    assert events[-1][1] | {"text": ""} == {"turn": 1, "kind": "malformed", "text": "", "code": None}
    assert heard.ending == "malformed"


def test_a_frame_is_two_lines_whatever_it_holds() -> None:
    data = {"text": "a\nb\r\n\u2028event: x\n\ndata: y"}
    head, body, *rest = frame("text", data).split("\n")
    assert head == "event: text" and json.loads(body.removeprefix("data: ")) == data and rest == ["", ""]
