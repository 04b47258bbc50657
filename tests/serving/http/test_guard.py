"""The guard alone, around a small application: who comes in, who does not, and what they are answered."""

import asyncio
import io
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from configs.schema import ServeHttp
from serving.http.errors import install
from serving.http.guard import Guard, Rate
from serving.http.metrics import Figures


class House:
    """An application whose /render waits until it is let go."""

    def __init__(self, **settings: object) -> None:
        self.figures, self.gate, self.inside = Figures(), asyncio.Event(), 0
        api = self.api = FastAPI()
        install(api)

        @api.post("/render")
        async def render(request: Request) -> dict[str, int]:
            size = len(await request.body())
            self.inside += 1
            await self.gate.wait()
            return {"size": size}

        @api.get("/health")
        async def health() -> dict[str, str]:
            return {"status": "ok"}

        @api.post("/judge")
        async def judge() -> dict[str, str]:
            raise RuntimeError("/secret/path")

        api.add_middleware(Guard, config=ServeHttp(**settings), figures=self.figures)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://house")


async def test_the_token_is_asked_of_all_but_the_open_pages() -> None:
    house = House(token="tökén")
    house.gate.set()
    assert (await house.client.get("/health")).status_code == 200
    for sent in ({}, {"authorization": "Bearer x"}, {"authorization": "tökén"}, {"authorization": "Bearer \xff"}):
        headers = {k: v.encode("utf-8") for k, v in sent.items()}
        refused = await house.client.post("/render", headers=headers, content=b"x")
        assert refused.status_code == 401 and refused.json()["error"]["type"] == "authentication_error"
    good = {"authorization": "Bearer tökén".encode()}
    assert (await house.client.post("/render", headers=good, content=b"x")).status_code == 200
    assert house.inside == 1


async def test_more_than_the_house_holds_is_asked_to_come_back() -> None:
    house = House(max_in_flight=2)
    guests = [asyncio.create_task(house.client.post("/render", content=b"x")) for _ in range(2)]
    while house.inside < 2:
        await asyncio.sleep(0)
    refused = await house.client.post("/render", content=b"x" * 100_000)
    assert refused.status_code == 503 and refused.json()["error"]["kind"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert (await house.client.get("/health")).status_code == 200
    house.gate.set()
    assert [(await g).status_code for g in guests] == [200, 200]
    assert (await house.client.post("/render", content=b"x")).status_code == 200
    page = house.figures.page().decode()
    assert 'rrvf_http_refused_total{reason="overloaded",route="/render"} 1.0' in page
    assert 'rrvf_http_requests_total{route="/render",status="200"} 3.0' in page
    assert 'rrvf_http_in_flight{route="/render"} 0.0' in page


async def test_a_new_route_has_a_limit_without_being_named_anywhere() -> None:
    house = House(max_in_flight=1)
    began, gate = asyncio.Event(), asyncio.Event()

    async def fresh(number: int) -> dict[str, int]:
        began.set()
        await gate.wait()
        return {"number": number}

    house.api.add_api_route("/fresh/{number}", fresh, methods=["GET"])
    first = asyncio.create_task(house.client.get("/fresh/1"))
    await began.wait()
    assert (await house.client.get("/fresh/2")).status_code == 503
    assert (await house.client.post("/fresh/2")).status_code == 405, "no endpoint, hence no limit"
    gate.set()
    assert (await first).json() == {"number": 1}
    assert 'route="/fresh/{number}",status="200"} 1.0' in house.figures.page().decode()


async def test_a_guest_who_leaves_makes_room() -> None:
    house = House(max_in_flight=1)
    guest = asyncio.create_task(house.client.post("/render", content=b"x"))
    while house.inside < 1:
        await asyncio.sleep(0)
    guest.cancel()
    await asyncio.gather(guest, return_exceptions=True)
    house.gate.set()
    assert (await house.client.post("/render", content=b"x")).status_code == 200


async def test_a_body_too_long_ends_with_or_without_its_length() -> None:
    house = House(max_body_mb=1)
    house.gate.set()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 2**19

    for content in (b"x" * (2**20 + 1), pieces()):
        refused = await house.client.post("/render", content=content)
        assert refused.status_code == 413 and refused.json()["error"]["kind"] == "too_large"
    assert (await house.client.post("/render", content=b"x" * 2**20)).json() == {"size": 2**20}


async def test_a_body_that_does_not_arrive_ends() -> None:
    house = House(body_s=0.05)
    house.gate.set()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(30)
        yield b"x"

    refused = await house.client.post("/render", content=slow())
    assert refused.status_code == 408 and refused.json()["error"]["kind"] == "slow_body"


@pytest.mark.parametrize(("origin", "status"), [("http://house", 200), ("http://evil", 403), ("null", 403)])
async def test_pages_of_other_sites_are_kept_out(origin: str, status: int) -> None:
    house = House()
    house.gate.set()
    answer = await house.client.post("/render", content=b"x", headers={"origin": origin, "content-type": "text/plain"})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("name", "status"),
    [("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("evil.example:8000", 403), ("[", 403)],
)
async def test_a_name_that_was_made_to_point_at_loopback_is_refused(name: str, status: int) -> None:
    for settings, expected in (({}, status), ({"token": "secret"}, 200)):
        house = House(**settings)
        house.client.base_url = httpx.URL("http://127.0.0.1")
        answer = await house.client.get("/health", headers={"host": name})
        assert answer.status_code == expected, answer.text
    assert (await House().client.get("/health")).status_code == 200, "bound elsewhere, any name may be its own"


async def test_the_rate_is_kept_and_refills() -> None:
    house = House(rate_per_minute=2)
    house.gate.set()
    codes = [(await house.client.post("/render", content=b"x")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]
    refused = await house.client.post("/render", content=b"x")
    assert 1 <= int(refused.headers["retry-after"]) <= 30 and refused.json()["error"]["type"] == "rate_limit_error"
    assert (await house.client.get("/health")).status_code == 200
    rate = Rate(60)
    assert [rate.wait("a", 0.0) for _ in range(61)] == [0] * 60 + [1]
    assert rate.wait("b", 0.0) == 0, "clients have buckets of their own"
    assert rate.wait("a", 1.0) == 0 and rate.wait("a", 1.0) == 1


async def test_unknown_paths_are_one_line_of_the_figures() -> None:
    house = House()
    for i in range(50):
        assert (await house.client.get(f"/{i}")).json()["error"]["kind"] == "not_found"
    page = house.figures.page().decode()
    assert 'rrvf_http_requests_total{route="other",status="404"} 50.0' in page and 'route="/1"' not in page


async def test_what_fails_inside_says_nothing_of_the_inside() -> None:
    house = House()
    failed = await house.client.post("/judge", content=io.BytesIO(b"x").read())
    assert failed.status_code == 500 and failed.json()["error"]["kind"] == "internal"
    assert "secret" not in failed.text
    assert 'route="/judge",status="500"' in house.figures.page().decode()


@pytest.mark.parametrize("length", ["99999999999999999999999999", "-1", "x", "²"])
async def test_a_strange_length_is_no_fault_of_ours(length: str) -> None:
    house = House()
    house.gate.set()
    answer = await house.client.post("/render", content=b"x", headers={"content-length": length.encode()})
    assert answer.status_code in (200, 413)


async def test_pages_of_listed_origins_may_ask_and_the_refusal_names_the_key() -> None:
    house = House(origins="http://other,http://front:3000")
    house.gate.set()
    for origin in ("http://front:3001", "https://front:3000", "http://front:3000.evil", "null"):
        for method, extra in (("POST", {}), ("OPTIONS", {"access-control-request-method": "POST"})):
            refused = await house.client.request(method, "/render", headers={"origin": origin, **extra}, content=b"x")
            assert refused.status_code == 403 and "http.origins" in refused.json()["error"]["message"]
    allowed = await house.client.post("/render", headers={"origin": "http://front:3000"}, content=b"x")
    assert allowed.status_code == 200 and house.inside == 1
