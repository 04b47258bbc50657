"""Contents of every kind, made at random: each ends in one of our results or errors, and nothing else.

`RRVF_FUZZ=10000` makes as many of each; a few are enough to see that the machinery stands. Hypothesis keeps and repeats
the seeds that failed.
"""

import asyncio
import contextlib
import json
import os
import random
import string
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from actors.contracts import Outage, RenderResult
from actors.dialogue import parse_turn
from actors.images import decoded, normalise
from configs.domains import shipped
from configs.schema import Render, Sandbox
from serving.http import requests
from serving.http.errors import BadRequest
from serving.http.uploads import picture
from serving.jailed.protocol import REPLY, fits
from serving.judge.mllm_answer import Malformed, marks_of, parse
from serving.render.chart_tracer import Trace, read
from serving.render.charts import ChartRenderer
from serving.render.source import charset_of, domain_of_type, text_of
from serving.render.web import WebRenderer, notes
from tests.serving.jailed.hostile_charts import ATTACKS as PROGRAMS
from tests.serving.malformed import odd_pictures
from tests.serving.render.hostile_pages import ATTACKS as PAGES

COUNT = int(os.environ.get("RRVF_FUZZ", "200"))
DRAWN = max(12, COUNT // 20)  # programs and pages, which take a while each
SOME = settings(max_examples=COUNT, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
TAGS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<answer>", "</answer>", "```python\n", "```", "~~~", "\r\n",
)  # fmt: skip
# what comes again and again goes deep or takes long
again = st.tuples(st.sampled_from((*TAGS, '{"arguments":', "[", "{", "<!--", " ", "1")), st.integers(1, 5000))
pieces = st.one_of(st.sampled_from(TAGS), st.text(max_size=40), again.map(lambda one: one[0] * one[1]))
replies = st.lists(pieces, max_size=30).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
bodies = st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode())
KINDS = (requests.ImageToCode, requests.Render, requests.Judge, requests.Reload)


@SOME
@given(replies, st.booleans())
def test_what_a_model_writes_is_a_turn(text: str, tool: bool) -> None:
    for written in (text, f"<think></think><answer>{text}</answer>"):
        kind, code = parse_turn(written, tool=tool)
        assert kind in ("tool_call", "answer", "malformed") and (code is None or isinstance(code, str))


@SOME
@given(st.binary(max_size=300) | st.sampled_from([data for data, _ in odd_pictures().values()]), st.randoms())
def test_bytes_are_a_picture_or_one_line(data: bytes, rng: random.Random) -> None:
    damaged = bytearray(data)
    for _ in range(rng.randint(0, 8)):
        if damaged:
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    for way in (lambda: normalise(bytes(damaged), 50_000), lambda: decoded(bytes(damaged))):
        try:
            way()
        except ValueError as error:
            assert "\n" not in str(error)
    try:
        asyncio.run(picture(bytes(damaged), "image", 50_000))
    except BadRequest as error:
        assert "\n" not in str(error)


@SOME
@given(st.binary(max_size=200), st.text(max_size=60))
def test_a_body_is_a_text_or_refused(data: bytes, content_type: str) -> None:
    charset = charset_of(content_type)
    assert domain_of_type(content_type) in (None, *shipped())
    assert isinstance(text_of(data, "web", charset), str)
    with contextlib.suppress(UnicodeDecodeError, SyntaxError):
        text_of(data, "chart", charset)


@SOME
@given(bodies, st.sampled_from(KINDS), st.text(string.printable, max_size=40), st.sampled_from(["", "source", "image"]))
def test_a_request_is_read_or_refused(raw: bytes, kind: Any, query: str, alone: str) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": raw}

    kinds = (b"application/json", b"text/plain", b"\xff")
    for content_type in kinds:
        scope = {"type": "http", "method": "POST", "path": "/", "query_string": query.encode(),
                 "headers": [(b"content-type", content_type)]}  # fmt: skip
        name = alone if alone in kind.model_fields else None
        try:
            asyncio.run(requests.body(Request(scope, receive), kind, name))
        except BadRequest as error:
            assert "\n" not in str(error)


@SOME
@given(st.binary(min_size=REPLY.size, max_size=REPLY.size), st.integers(1, 10**7), st.booleans())
def test_a_reply_that_fits_is_bounded(header: bytes, most: int, is_picture: bool) -> None:
    kind, width, height, size, words = REPLY.unpack(header)
    if fits(kind, width, height, size, words, most=most, picture=is_picture):
        assert size <= 3 * most and words <= 2000 and max(width, height) <= 16_384
        assert size == 3 * width * height or (not is_picture and size <= most)


@SOME
@given(bodies)
def test_a_trace_is_read_or_tampered_with(body: bytes) -> None:
    for mode in ("chartmimic", "plot2code"):
        assert isinstance(read(body, mode), Trace)  # type: ignore[arg-type]


@SOME
@given(st.text(max_size=300), st.dictionaries(st.text(max_size=30), st.integers(1, 9), max_size=12))
def test_notes_are_one_line_of_bounded_length(source: str, hosts: dict[str, int]) -> None:
    found = notes(source, hosts)
    assert len(found) < 2000 and all(c.isprintable() for c in found)


marks = st.dictionaries(
    st.sampled_from((*marks_of("chart"), "Color", "x")),
    st.integers(-1, 12) | st.floats() | st.text(max_size=9),
    max_size=9,
)
findings = st.lists(
    st.fixed_dictionaries(
        {"category": st.sampled_from(("text", "Colour", "y")) | json_values, "severity": st.integers() | json_values},
        optional={"where": json_values, "what": json_values},
    ),
    max_size=3,
)
verdicts = st.fixed_dictionaries(
    {}, optional={"marks": marks | json_values, "differences": findings | json_values, "feedback": json_values}
).map(json.dumps)


@SOME
@given(
    st.lists(verdicts | replies | st.just("Score: 40/100"), max_size=4).map("".join), st.sampled_from(["chart", "web"])
)
def test_a_judges_answer_is_a_verdict_or_named(text: str, domain: Any) -> None:
    try:
        found = parse(text, domain)
    except Malformed as error:
        assert "\n" not in str(error)
    else:
        assert 0.0 <= found.score <= 1.0 and all(c.isprintable() for c in found.feedback)


def mixed(rng: random.Random, parts: list[str], glue: str) -> str:
    """Pieces of known attacks, cut and joined at random places, with a few characters changed."""
    text = glue.join(rng.choice(parts)[: rng.choice((10**6, rng.randint(1, 400)))] for _ in range(rng.randint(1, 4)))
    text = text[:20_000]
    for _ in range(rng.choice((0, 0, 1, 5))):
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice(string.printable + "\0\ud800é中\u202e") + text[place + 1 :]
    return text


def checked(result: RenderResult) -> None:
    assert result.ok == (result.png is not None) == (result.kind is None)
    assert result.ok or (result.message and all(c.isprintable() for c in result.message))


async def test_programs_of_pieces_of_attacks_are_outcomes() -> None:
    rng, parts = random.Random(0), [program for _, _, program in PROGRAMS]
    renderer = ChartRenderer(Render(sandbox=Sandbox(cpu_s=1, wall_s=2, memory_mb=256)))
    try:
        for _ in range(DRAWN):
            checked(await renderer.render(mixed(rng, parts, "\n").replace("draw", "import matplotlib.pyplot as plt")))
    finally:
        await renderer.close()
    assert renderer.starts <= 2


async def test_pages_of_pieces_of_attacks_are_outcomes() -> None:
    rng, parts = random.Random(7), [page for _, _, page in PAGES]
    renderer = WebRenderer(Render(sandbox=Sandbox(wall_s=3)))
    try:
        for _ in range(DRAWN):
            try:
                checked(await renderer.render(mixed(rng, parts, "")))
            except Outage as error:  # a browser that the machine does not start: ours as well, and never a score
                assert error.part == "render"
    finally:
        await renderer.close()
