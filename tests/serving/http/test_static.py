"""The pages' files: small, licensed, complete, and open to a browser that has no token yet."""

import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from configs.schema import ServeHttp
from serving.http.guard import Guard
from serving.http.metrics import Figures
from serving.http.static import PAGES, static, studio

VENDOR = PAGES / "vendor"


def test_vendored_files_are_small_and_their_licences_are_told() -> None:
    files = [p for p in VENDOR.iterdir() if p.suffix in (".js", ".css")]
    shown_first = [p for p in files if not p.name.startswith("swagger")]  # /docs alone loads those
    assert len(files) == 10 and sum(p.stat().st_size for p in shown_first) < 400_000
    licences = (VENDOR / "THIRD_PARTY_LICENSES.md").read_text()
    patterns = re.findall(r"[\w.*-]+\.(?:js|css)", licences)
    assert all(any(path.match(pattern) for pattern in patterns) for path in files)
    assert licences.count("Permission is hereby granted") == 2 and "Redistribution and use" in licences


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.html")), ids=lambda p: p.name)
def test_a_page_names_only_files_that_are_there(page: Path) -> None:
    text = page.read_text()
    names = re.findall(r'(?:src|href)="(?:\.\./)*pages/([^"]+)"', text)
    assert len(names) > 3 and all((PAGES / name).is_file() for name in names)
    assert not re.search(r'(src|href)="(https?:)?//', text) and not re.search(r"<script(?![^>]* src=)", text)


@pytest.mark.parametrize("script", sorted(PAGES.glob("*.js")), ids=lambda p: p.name)
def test_scripts_make_no_markup_of_text(script: Path) -> None:
    text = script.read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text)
    for name in re.findall(r'from "\./([^"]+)"', text):
        assert (PAGES / name).is_file()


@pytest.mark.parametrize(
    ("domain", "number"), [("chart", 4), ("web", 4), ("svg", 4), ("mathtext", 0), ("../vendor", 0)]
)
async def test_the_studio_offers_pictures_of_its_own_domain(domain: str, number: int) -> None:
    app = Starlette(routes=[Route("/", studio(domain)), Mount("/pages", static())])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://house") as client:
        found = re.search(r'data-pictures="([^"]*)"', (await client.get("/")).text)
        assert found and len(found[1].split()) == number
        for name in found[1].split():
            answer = await client.get(f"/pages/examples/{name}.png")
            assert answer.status_code == 200 and name.startswith(f"{domain}/")


def house(token: str) -> httpx.AsyncClient:
    async def runs(request: Request) -> Response:
        return PlainTextResponse("runs")

    app = Starlette(routes=[Route("/", studio("chart")), Mount("/pages", static()), Route("/runs", runs)])
    app.add_middleware(Guard, config=ServeHttp(token=token), figures=Figures())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://house")


async def test_the_studio_opens_without_a_token_and_runs_do_not() -> None:
    async with house("s3cret; ü") as client:
        for path in ("/", "/pages/studio.js", "/pages/vendor/pico.min.css", "/pages/examples/chart/bars.png"):
            answer = await client.get(path)
            assert answer.status_code == 200 and "script-src 'self'" in answer.headers["content-security-policy"]
        assert (await client.get("/runs")).status_code == 401
        good = {"cookie": "a=b; rrvf_token=s3cret%3B%20%C3%BC"}  # as encodeURIComponent writes it
        assert (await client.get("/runs", headers=good)).text == "runs"
        for bad in ("rrvf_token=", "rrvf_token=x", "rrvf_token", "s3cret", "=; ;;", "rrvf_token=Bearer%20s3cret"):
            assert (await client.get("/runs", headers={"cookie": bad})).status_code == 401


@pytest.mark.parametrize("path", ["/pages/../static.py", "/pages/%2e%2e/static.py", "/pages//etc/passwd", "/pages/"])
async def test_nothing_but_the_pages_is_served(path: str) -> None:
    async with house("") as client:
        assert (await client.get(path)).status_code in (404, 405)
