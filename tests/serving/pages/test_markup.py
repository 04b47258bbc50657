"""What models, judges and run folders say is text in the pages: nothing runs, nothing becomes an element."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from serving.http.static import PAGES
from serving.inference.events import frame
from serving.viewer.app import alone
from tests.serving.pages.browser import opened, studio_before
from tests.serving.viewer.test_app import Served
from tests.training.run.made_run import make

EVIL = (
    "<img src=x onerror='window.hit=1'>", "</script><script>window.hit=2</script>", "\"><svg onload=window.hit=3>",
    "<iframe srcdoc='<script>parent.hit=4</script>'></iframe>", "javascript:window.hit=5", "<b class=evil>bold</b>",
    "&lt;b class=evil&gt;", "</pre></code><style>*{display:none}</style>", "${window.hit=6}", "\u202eevil\x1b[31m\x07",
    "<!--", "]]>", "<math><mi xlink:href='javascript:window.hit=7'>",
    "<a href='javascript:window.hit=8' class=evil>x</a>",
)  # fmt: skip

MADE_OF_TEXT = ".evil, img[src=x], svg[onload], math, iframe, a[href^=javascript], main style, dialog style"


def poisoned(value: object, evil: str) -> object:
    """The same record with `evil` in every text that is neither a picture's name nor an outcome that steers a page."""
    if isinstance(value, dict):
        return {
            k: v if k in ("picture", "target", "outcome", "kind", "ending") and v != "feedback" else poisoned(v, evil)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [poisoned(v, evil) for v in value]
    return f"{value}{evil}" if isinstance(value, str) else value


@pytest.fixture(scope="module")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    run = make(tmp_path_factory.mktemp("runs") / "hostile", steps=4)
    lines = [json.loads(line) for line in (run / "trajectories" / "rollout-0.jsonl").read_text().splitlines()]
    evil = [poisoned(line, EVIL[n % len(EVIL)]) for n, line in enumerate(lines)]
    odd = dict(lines[-1], members=[{**lines[-1]["members"][0], "ending": 5, "turns": [{"failure": None}]}])
    file = run / "trajectories" / "rollout-0.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*evil[:-1], odd]))
    with (run / "metrics.jsonl").open("a") as out:
        out.write(json.dumps({"step": 99, "reward": 0.5, **{f"x{text}": 1.0 for text in EVIL}}) + "\n")
    served = Served(alone(run.parent, "hostile"))
    yield served
    served.stop()


def test_nothing_that_a_run_says_becomes_markup(viewed: Served) -> None:
    with opened() as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(f"http://127.0.0.1:{viewed.port}/runs/hostile/")
        page.wait_for_selector("article.group")
        assert "its record is damaged" in page.inner_text("#groups"), "one damaged record takes no other away"
        assert page.locator("article.group").count() > 10
        seen = ""
        for place in range(0, page.locator("button.member").count(), 3):
            page.locator("button.member").nth(place).click()
            page.wait_for_selector("#detail[open]")
            for more in page.locator("#turns summary").all():
                more.click()
            seen += page.text_content("#turns") or ""
            page.click("#close")
        assert page.evaluate("window.hit") is None and dialogs == []
        assert page.locator(MADE_OF_TEXT).count() == 0
        for text in EVIL[:4]:
            assert text in seen, "it is shown as it was written"


def test_a_damaged_or_endless_number_takes_no_page_away(tmp_path: Path) -> None:
    run = make(tmp_path / "odd", steps=1)
    file = run / "trajectories" / "rollout-0.jsonl"
    line = json.loads(file.read_text().splitlines()[0])
    text = json.dumps(line | {"group": 1})
    for number in ("1e999", "-1e999", "9" * 400, "NaN", '"x"', "null", "true", "[]"):
        total = str(line["members"][0]["reward"]["total"])
        with file.open("a") as out:
            out.write(text.replace(f'"total": {total}', f'"total": {number}') + "\n")
    (run / "advantages.jsonl").write_text('{"step": 1, "groups": {"²": [1], "1": [1e999], "9999999999999999": [2]}}\n')
    with (run / "metrics.jsonl").open("a") as out:
        out.write('{"step": 1e999, "reward": %s, "x": 1e999}\n' % ("9" * 400))
    outside = tmp_path / "secret.jsonl"
    outside.write_text('{"step": 4711, "reward": 0.4711}\n')
    linked = make(tmp_path / "linked", steps=1)
    (linked / "metrics.jsonl").unlink()
    (linked / "metrics.jsonl").symlink_to(outside)
    served = Served(alone(tmp_path, ""))
    try:
        for path in ("api", "odd/api/groups", "odd/api/curves", "odd/api/step", "odd/api/state"):
            status, _, body = served.get(f"/runs/{path}")
            assert status == 200 and b"4711" not in body, path
            json.loads(body, parse_constant=lambda name: pytest.fail(name))
    finally:
        served.stop()


def spoken(evil: str) -> str:
    """A stream in which every text that a model, a renderer or a judge brings is `evil`."""
    events = [
        ("text", {"turn": 1, "delta": f"<think>{evil}</think>{evil}"}),
        ("code", {"turn": 1, "kind": "tool_call", "text": f"<think>{evil}</think>", "code": f"{evil}\nx = '{evil}'"}),
        ("render", {"turn": 1, "ok": False, "kind": evil, "message": evil, "picture": None}),
        ("verdict", {"turn": 1, "score": 0.5, "feedback": evil, "differences": [{"what": evil}]}),
        ("code", {"turn": 2, "kind": "malformed", "text": f"<think>{evil}</think>{evil}", "code": None}),
        ("render", {"turn": 2, "ok": True, "kind": None, "message": "", "picture": f"x' onerror='window.hit=9{evil}"}),
        (evil.replace("\n", ""), {"turn": 3, "text": evil}), ("error", {"kind": evil, "message": evil}),
    ]  # fmt: skip
    return "".join(frame(name, data) for name, data in events)


@contextmanager
def answering(evil: list[str]) -> Iterator[str]:
    """The studio before a server that says the last of `evil`: as a stream, then as a refusal."""

    async def answer(request: Request) -> Response:
        if (text := evil[-1]).startswith("refuse "):
            return JSONResponse({"error": {"kind": text, "message": text[7:]}}, status_code=503)
        return StreamingResponse(iter([spoken(text)]), media_type="text/event-stream")

    with studio_before(answer) as address:
        yield address


def clean(page: Page) -> None:
    """Nothing ran and nothing became an element."""
    assert page.evaluate("window.hit") is None
    assert page.locator(MADE_OF_TEXT).count() == 0


def test_nothing_that_a_stream_says_becomes_markup_in_the_studio() -> None:
    evil = [EVIL[0]]
    with answering(evil) as url, opened() as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(url)
        page.locator("#file").set_input_files(PAGES / "examples" / "chart" / "bars.png")
        for text in (*EVIL, *(f"refuse {text}" for text in EVIL[:4])):
            evil.append(text)
            page.locator("#go").click()
            page.wait_for_selector("#alert button")
            shown = text.removeprefix("refuse ")
            assert shown in (page.text_content("#alert") or ""), "it is shown as it was written"
            if shown == text:
                assert page.locator("article.turn").count() == 2
                assert (page.text_content("#turns-list") or "").count(shown.split("\x1b")[0]) >= 4
            clean(page)
        assert dialogs == []


def test_the_test_would_see_markup() -> None:
    with answering([EVIL[0]]) as url, opened() as page:
        page.goto(url)
        page.evaluate("document.querySelector('main').insertAdjacentHTML('beforeend', '<b class=evil>x</b>')")
        with pytest.raises(AssertionError):
            clean(page)
