"""A body as JSON, as the thing itself and as a form: one and the same request."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from serving.http import requests
from serving.http.errors import install
from serving.http.uploads import picture as read


def sent(**how: Any) -> httpx.Response:
    api = FastAPI()
    install(api)

    @api.post("/")
    async def door(request: Request) -> dict[str, Any]:
        asked, raw = await requests.body(request, requests.ImageToCode, "image")
        return {"turns": asked.turns, "bytes": len(await read(asked.image if raw is None else raw, "image", 10**6))}

    async def post() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://h") as client:
            return await client.post("/", **how)

    return asyncio.run(post())


def test_a_form_is_the_same_as_json(picture: Any) -> None:
    png = picture()
    text = base64.b64encode(png).decode()
    answers = [
        sent(json={"image": text, "turns": 2}),
        sent(files={"image": ("chart.png", png, "image/png")}, data={"turns": "2"}),
        sent(files={"image": ("chart.png", png)}, data={"turns": "2"}),
        sent(files={"image": (None, text), "turns": (None, "2")}),
        sent(content=png, params={"turns": 2}),
    ]
    assert {a.text for a in answers} == {answers[0].text} and answers[0].status_code == 200


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ({"files": {"picture": ("c.png", b"x")}}, "unknown_setting"),
        ({"files": {"image": ("c.png", b"x")}, "data": {"turn": "2"}}, "unknown_setting"),
        ({"files": {"image": ("c.png", b"x")}, "data": {"turns": "many"}}, "bad_turns"),
        ({"files": {"turns": (None, "2")}}, "no_image"),
        ({"files": {"image": ("c.png", b"")}}, "no_image"),
        ({"files": [("image", ("a", b"x")), ("image", ("b", b"x"))]}, "bad_form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "bad_form"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, "bad_form"),
    ],
)
def test_a_form_s_fault_has_a_kind(how: dict[str, Any], kind: str) -> None:
    answer = sent(**how)
    assert answer.status_code == 400 and answer.json()["error"]["kind"] == kind, answer.text
