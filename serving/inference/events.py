"""An episode as server-sent events: what the policy writes, what its code renders, what the judge says, as it happens.

Guarantees: the episode is the same as without a listener: its own policy, renderer and judge, each observed;
events come in the order of the episode, turns count from 1, and `code` carries the whole text of its turn, whatever
became of its pieces. One event is one `event:` line and one `data:` line of JSON.

    text     turn, delta                                   as tokens arrive
    code     turn, kind, text, code                        the turn is written; code is null where it has none
    render   turn, ok, kind, message, picture              picture: base64 PNG, or null with the kind of failure
    verdict  turn, score, feedback, differences
    done     the answer of the request without `stream`
    error    kind, message                                 in place of done
"""

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from actors.contracts import Domain, RenderResult, Sample, Verdict
from actors.dialogue import parse_turn
from actors.rollout.episode import Environment

Event = tuple[str, dict[str, Any]]  # name, data


class Audible(Protocol):
    """A Policy that can be heard while it writes."""

    async def sample(
        self,
        prompt_ids: Sequence[int],
        images: Sequence[bytes],
        *,
        max_tokens: int,
        session: str,
        heard: Callable[[str], None] | None = None,
    ) -> Sample: ...


class Emitter:
    """Policy, renderer and judge of one episode, which report to `say` what they do. `tool`: the prompt offers one."""

    def __init__(self, policy: Audible, env: Environment, say: Callable[[Event], None], *, tool: bool) -> None:
        self._policy = policy
        self._env = env
        self._say = say
        self._tool = tool
        self._turn = 0
        self._sent = 0  # characters of this turn

    async def sample(
        self, prompt_ids: Sequence[int], images: Sequence[bytes], *, max_tokens: int, session: str
    ) -> Sample:
        self._turn += 1
        self._sent = 0
        sample = await self._policy.sample(prompt_ids, images, max_tokens=max_tokens, session=session, heard=self._hear)
        text = self._env.codec.decode(sample.token_ids)
        kind, code = parse_turn(text, tool=self._tool)
        self._say(("code", {"turn": self._turn, "kind": kind, "text": text, "code": code}))
        return sample

    def _hear(self, text: str) -> None:
        text = text.removesuffix(self._env.codec.tokenizer.eos_token)
        if len(text) > self._sent:
            self._say(("text", {"turn": self._turn, "delta": text[self._sent :]}))
            self._sent = len(text)

    async def render(self, source: str, domain: Domain) -> RenderResult:
        found = await self._env.renderer.render(source, domain)
        about = {"turn": self._turn, "ok": found.ok, "kind": found.kind, "message": found.message}
        self._say(("render", {**about, "picture": encoded(found.png)}))
        return found

    async def compare(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        verdict = await self._env.judge.compare(target, render, domain)
        differences = [asdict(d) for d in verdict.differences]
        about = {"turn": self._turn, "score": verdict.score, "feedback": verdict.feedback}
        self._say(("verdict", {**about, "differences": differences}))
        return verdict

    async def prefer(self, target: bytes, first: bytes, second: bytes, domain: Domain) -> float:
        return await self._env.judge.prefer(target, first, second, domain)


def emitting(env: Environment, policy: Audible, say: Callable[[Event], None], *, tool: bool) -> Environment:
    """`env` for one episode, whose every step goes to `say`."""
    emitter = Emitter(policy, env, say, tool=tool)
    return Environment(emitter, emitter, emitter, env.codec)


def joined(events: Sequence[Event]) -> list[Event]:
    """The same events with neighbouring pieces of text made one."""
    out: list[Event] = []
    for name, data in events:
        if name == "text" and out and out[-1][0] == "text" and out[-1][1]["turn"] == data["turn"]:
            out[-1] = ("text", {"turn": data["turn"], "delta": out[-1][1]["delta"] + data["delta"]})
        else:
            out.append((name, data))
    return out


def frame(name: str, data: dict[str, Any]) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def encoded(png: bytes | None) -> str | None:
    """Base64 of a picture."""
    return None if png is None else base64.b64encode(png).decode()
