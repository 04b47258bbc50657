"""The served application: every endpoint as its clients use it, and what happens when many do."""

import asyncio
import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import openai
import pytest
import torch
from playwright.sync_api import Error
from safetensors.torch import load_file, save_file

from tests.serving.live import ROOT, Live, free_port
from tests.serving.pages.browser import opened

PROGRAM = "import matplotlib.pyplot as plt\nplt.bar([1, 2], [3, 4])\n"


@pytest.fixture
def client(live: Live) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key="-", max_retries=0, timeout=90)


@pytest.fixture
def chat(client: openai.OpenAI) -> Callable[..., Any]:
    def ask(text: str = "draw", **settings: Any) -> Any:
        messages = settings.pop("messages", [{"role": "user", "content": text}])
        settings = {"model": "tiny_chart", "max_tokens": 16, "temperature": 0, **settings}
        return client.chat.completions.create(messages=messages, **settings)

    return ask


def linked(url: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}]


def shown(png: bytes, text: str = "draw it") -> list[dict[str, Any]]:
    return [*linked(f"data:image/png;base64,{base64.b64encode(png).decode()}"), {"type": "text", "text": text}]


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


# OpenAI's client


def test_openai_lists_the_model_and_answers(client: openai.OpenAI, chat: Callable[..., Any], live: Live) -> None:
    [model] = client.models.list().data
    assert model.id == "tiny_chart"
    found = chat(max_tokens=7)
    assert found.object == "chat.completion" and found.model == "tiny_chart"
    assert found.choices[0].message.role == "assistant" and found.choices[0].finish_reason in ("length", "stop")
    assert found.usage.completion_tokens <= 7
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens


def test_openai_streams_what_it_answers_at_once(chat: Callable[..., Any], picture: Callable[..., bytes]) -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": shown(picture())}]
    whole = chat(messages=messages)
    chunks = list(chat(messages=messages, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[-1].usage == whole.usage
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == whole.choices[0].finish_reason


def test_openai_pictures_change_the_prompt(chat: Callable[..., Any], picture: Callable[..., bytes]) -> None:
    none = chat("draw it").usage.prompt_tokens
    one = chat(messages=[{"role": "user", "content": shown(picture())}]).usage.prompt_tokens
    turns = [
        {"role": "user", "content": shown(picture())},
        {"role": "assistant", "content": "<think>red</think>"},
        {"role": "user", "content": shown(picture("blue", (112, 84)))},
    ]
    two = chat(messages=turns).usage.prompt_tokens
    assert none + 20 < one < two


def test_openai_settings_work(chat: Callable[..., Any]) -> None:
    first = chat(temperature=1.5, seed=3).choices[0].message.content
    assert first == chat(temperature=1.5, seed=3).choices[0].message.content
    assert first != chat(temperature=1.5, seed=4).choices[0].message.content
    stop = first[5]
    cut = chat(temperature=1.5, seed=3, stop=[stop])
    assert cut.choices[0].message.content == first.split(stop)[0] and cut.choices[0].finish_reason == "stop"
    assert chat(max_tokens=openai.omit, max_completion_tokens=3).usage.completion_tokens <= 3
    [best, *_] = chat(logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert len(best.top_logprobs) == 2 and best.logprob == pytest.approx(best.top_logprobs[0].logprob)
    assert chat(top_p=1e-6, temperature=2, seed=1).choices[0].message.content == chat().choices[0].message.content


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"n": 9}, "`n`"),
        ({"n": 2}, "n must be 1 when using greedy sampling"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "`tools` is not supported"),
        ({"temperature": 3}, "`temperature`"),
        ({"max_tokens": 100_000}, "100000"),
        ({"messages": []}, "`messages`"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "long " * 3000}]}, "512"),
        ({"messages": [{"role": "user", "content": linked("http://h/x.png")}]}, "fetches nothing"),
        ({"messages": [{"role": "user", "content": linked("data:;base64,eA==")}]}, "not a readable image"),
    ],
)
def test_openai_errors_are_openai_s(chat: Callable[..., Any], settings: dict[str, Any], expected: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match=re.escape(expected)) as refused:
            chat(**settings, stream=stream)
        assert refused.value.type == "invalid_request_error" and refused.value.code


def test_openai_several_answers_and_one_sent_back(chat: Callable[..., Any]) -> None:
    found = chat(n=3, temperature=2, seed=1)
    assert [c.index for c in found.choices] == [0, 1, 2] and len({c.message.content for c in found.choices}) == 3
    streamed = {c.index for e in chat(n=3, temperature=2, stream=True) for c in e.choices}
    assert streamed == {0, 1, 2}
    first = {"role": "user", "content": "draw"}
    whole = [first, found.choices[0].message.model_dump(), first]
    plain = [first, {"role": "assistant", "content": found.choices[0].message.content}, first]
    extras = {"tools": [], "store": False, "logit_bias": {}, "response_format": {"type": "text"}}
    assert chat(messages=whole, **extras).choices == chat(messages=plain).choices


def test_openai_too_many_pictures(chat: Callable[..., Any], picture: Callable[..., bytes]) -> None:
    with pytest.raises(openai.BadRequestError, match=r"may have \d images"):
        chat(messages=[{"role": "user", "content": shown(picture()) * 9}])


def test_openai_an_unknown_model_is_not_found(chat: Callable[..., Any]) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        chat(model="gpt-4o")


def test_a_text_cannot_hold_a_place_for_a_picture(chat: Callable[..., Any]) -> None:
    assert chat("<|vision_start|><|image_pad|><|vision_end|><|im_end|>").usage.completion_tokens


# image to code


@pytest.mark.parametrize("turns", [1, 2])
def test_an_episode_streams_and_ends_as_without_a_stream(live: Live, picture: Callable[..., bytes], turns: int) -> None:
    url, png = f"{live.url}/v1/image-to-code", picture()
    body = {"image": base64.b64encode(png).decode(), "turns": turns}
    whole = httpx.post(url, json=body, timeout=90).json()
    answers = [
        httpx.post(url, json={**body, "stream": True}, timeout=90),
        httpx.post(url, json=body, headers={"accept": "text/event-stream"}, timeout=90),
        httpx.post(url, params={"turns": turns, "stream": "true"}, content=png, headers={"content-type": "image/png"}),
    ]
    for answer in answers:
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/event-stream")
        events = events_of(answer.text)
        assert events[-1] == ("done", whole)
        [(name, code)] = [e for e in events if e[0] == "code"][:1]
        assert name == "code" and code["turn"] == 1 and code["text"] == whole["turns"][0]["text"]
        assert events[0][0] == "text" and events[0][1]["turn"] == 1
    assert {"code", "picture", "similarity", "failure", "ending", "turns"} == set(whole)
    assert {"score", "feedback", "differences", "text", "code", "picture"} < set(whole["turns"][0])


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/image-to-code", {"image": "eA==", "turns": 99}, "bad_turns"),
        ("/v1/image-to-code", {"image": "eA==", "turns": "many"}, "bad_turns"),
        ("/v1/image-to-code", {"image": "eA==", "streem": True}, "unknown_setting"),
        ("/v1/image-to-code", {"image": 3}, "bad_image"),
        ("/render", {}, "no_source"),
        ("/judge", {"target": "eA==", "render": "eA==", "domain": "poem"}, "bad_domain"),
        ("/v1/reload", {"model": "/nowhere"}, "bad_model"),
        ("/v1/reload", {"model": "latest"}, "no_checkpoint"),
    ],
)
def test_what_cannot_be_used_has_a_kind(live: Live, path: str, body: object, kind: str) -> None:
    answer = httpx.post(f"{live.url}{path}", json=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["kind"] == kind, answer.text


def test_a_form_is_answered_as_json_is(live: Live, picture: Callable[..., bytes]) -> None:
    url, png = f"{live.url}/v1/image-to-code", picture()
    whole = httpx.post(url, json={"image": base64.b64encode(png).decode(), "turns": 2}, timeout=90)
    form = httpx.post(url, files={"image": ("chart.png", png)}, data={"turns": "2"}, timeout=90)
    assert form.json() == whole.json() and form.status_code == 200


ASK = """async ([url, body]) => {
  const answer = await fetch(url, {method: "POST", headers: {"content-type": "application/json"}, body});
  return (await answer.json()).object;
}"""


def test_a_page_of_a_listed_origin_asks_in_a_real_browser(live: Live, front: str, tmp_path: Path) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "go"}], "max_tokens": 2})
    (tmp_path / "index.html").write_text("<p>hello</p>")
    others = [front, f"http://127.0.0.1:{free_port()}"]
    servers = [
        subprocess.Popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", origin.rsplit(":", 1)[1]],
            cwd=tmp_path, stderr=subprocess.DEVNULL,
        )
        for origin in others
    ]  # fmt: skip
    try:
        for origin in others:
            deadline = time.monotonic() + 60
            while not answers(origin):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        with opened() as page:
            page.goto(others[0])
            assert page.evaluate(ASK, [f"{live.url}/v1/chat/completions", body]) == "chat.completion"
            page.goto(others[1])
            with pytest.raises(Error, match="Failed to fetch"):
                page.evaluate(ASK, [f"{live.url}/v1/chat/completions", body])
    finally:
        for server in servers:
            server.kill()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# many clients


def shaken(model: str, folder: Path) -> Path:
    """The same policy with other weights."""
    shutil.copytree(model, folder)
    generator = torch.Generator().manual_seed(1)
    weights = load_file(folder / "model.safetensors")
    moved = {n: w + 0.02 * torch.randn(w.shape, generator=generator) for n, w in weights.items()}
    save_file(moved, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


async def test_a_reload_drops_no_request(live: Live, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    other = shaken(live.model, tmp_path / "other")
    image = base64.b64encode(picture()).decode()
    body = {"messages": [{"role": "user", "content": "go"}], "temperature": 0, "stream": True, "max_tokens": 400}
    answers: list[str] = []
    loaded = asyncio.Event()

    async with aiohttp.ClientSession(live.url) as session:

        async def clients(path: str, what: dict[str, Any]) -> None:
            while not loaded.is_set():
                async with session.post(path, json=what) as answer:
                    assert answer.status == 200, await answer.text()
                    answers.append(await answer.text())

        async def greeting() -> str:
            async with session.post("/v1/chat/completions", json={**body, "stream": False, "max_tokens": 24}) as answer:
                return (await answer.json())["choices"][0]["message"]["content"]

        async def reload(model: object) -> dict[str, Any]:
            async with session.post("/v1/reload", json={"model": str(model)}) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        first = await greeting()
        busy = [asyncio.create_task(clients("/v1/chat/completions", body)) for _ in range(4)]
        busy += [asyncio.create_task(clients("/v1/image-to-code", {"image": image, "stream": True})) for _ in range(2)]
        await asyncio.sleep(0.5)
        reports = [await reload(model) for model in (other, live.model, other)]
        second = await greeting()
        loaded.set()
        await asyncio.gather(*busy)
        assert [r["replicas"] for r in reports] == [1, 1, 1]
        assert [r["version"] - reports[0]["version"] for r in reports] == [0, 1, 2]
        assert all("[DONE]" in a or "event: done" in a for a in answers) and len(answers) >= 6
        assert not any("event: error" in a or '"error"' in a for a in answers)
        assert second != first
        await reload(live.model)
        assert await greeting() == first, "a cache of other weights was used"


def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(live: Live, tmp_path: Path) -> None:
    short = tmp_path / "short"
    shutil.copytree(live.model, short)
    weights = load_file(short / "model.safetensors")
    save_file(dict(list(weights.items())[1:]), short / "model.safetensors", metadata={"format": "pt"})
    torn = tmp_path / "torn"
    shutil.copytree(live.model, torn)
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:1000])
    before = httpx.get(f"{live.url}/v1/models").json()
    for folder, expected in ((short, "not the same architecture"), (torn, "cannot be read")):
        answer = httpx.post(f"{live.url}/v1/reload", json={"model": str(folder)}, timeout=60)
        assert answer.status_code == 400 and expected in answer.json()["error"]["message"]
    assert httpx.get(f"{live.url}/v1/models").json() == before


def test_who_stops_listening_stops_the_engine(live: Live) -> None:
    body = {"messages": [{"role": "user", "content": "go"}], "stream": True, "max_tokens": 450, "temperature": 1}
    with httpx.stream("POST", f"{live.url}/v1/chat/completions", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    deadline = time.monotonic() + 60
    while httpx.get(f"{live.url}/health", timeout=60).json()["running"]:
        assert time.monotonic() < deadline, "the request goes on without its client"
        time.sleep(0.1)


async def test_ten_times_too_many_get_503_and_the_rest_their_answer(live: Live) -> None:
    statuses: Counter[int] = Counter()

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        async with session.post("/render", json={"source": f"{PROGRAM}plt.title('{number}')"}) as answer:
            await answer.read()
            statuses[answer.status] += 1
            if answer.status == 503:
                assert int(answer.headers["Retry-After"]) >= 1
                assert (await answer.json())["error"]["kind"] == "overloaded"

    async with aiohttp.ClientSession(live.url) as session:
        await asyncio.gather(*(one(session, i) for i in range(80)))
        assert set(statuses) == {200, 503} and statuses[200] >= 8, statuses
        await one(session, 1000)
        assert statuses[200] > 8
        async with session.get("/metrics") as answer:
            page = await answer.text()
    assert f'rrvf_http_refused_total{{reason="overloaded",route="/render"}} {statuses[503]}.0' in page


# the README


def examples() -> list[tuple[str, str]]:
    section = (ROOT / "serving" / "README.md").read_text().split("## Serve\n")[1].split("\n## ")[0]
    return [(kind, code) for kind, code in re.findall(r"```(\w+)\n(.*?)```", section, re.S) if "localhost" in code]


@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_the_readme_run(live: Live, tmp_path: Path, picture: Callable[..., bytes], number: int) -> None:
    assert len(examples()) == 3
    kind, code = examples()[number]
    for name in ("chart.png", "render.png"):
        (tmp_path / name).write_bytes(picture())
    (tmp_path / "program.py").write_text(PROGRAM)
    code = code.replace("localhost:8000", live.url.removeprefix("http://")).replace('"latest"', f'"{live.model}"')
    command = ["bash", "-euo", "pipefail", "-c", code] if kind == "sh" else [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert '"error"' not in done.stdout and done.stdout.strip()
    if kind == "sh":
        for part in (  # as README says
            '"similarity":',
            "event: done",
            '"png":"',
            '"score":1.0',
            '"replicas":1',
            '"status":"ok"',
            "# TYPE",
        ):
            assert part in done.stdout
