"""The viewer over HTTP: pages of groups, and names from outside that lead nowhere."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from serving.viewer.app import alone, viewer
from tests.training.run.made_run import make


class Served:
    def __init__(self, application: object) -> None:
        door = socket.socket()
        door.bind(("127.0.0.1", 0))
        door.listen()  # who comes before the server is up waits
        self.port = door.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(application, log_level="error"))  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._server.run, args=([door],), daemon=True)
        self._thread.start()

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("GET", path, skip_accept_encoding=True)  # the path as it is, not cleaned
        connection.endheaders()
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("root")
    make(root / "runs" / "first", steps=12)
    make(root / "runs" / "second", steps=1)
    make(root / "hidden", steps=1)
    (root / "runs" / "latest").symlink_to("first")
    (root / "runs" / "away").symlink_to(root / "hidden")
    (root / "runs" / "notes").mkdir()
    served = Served(viewer(root / "runs"))
    yield served
    served.stop()


def test_pages_of_groups(served: Served) -> None:
    seen: list[int] = []
    for offset in range(0, 60, 20):
        status, _, body = served.get(f"/first/api/groups?offset={offset}&limit=20")
        page = json.loads(body)
        assert status == 200 and page["total"] == 48
        seen += [g["group"] for g in page["groups"]]
    assert seen == list(range(47, -1, -1))


def test_runs_are_listed_and_latest_is_one_of_them(served: Served) -> None:
    found = json.loads(served.get("/api")[2])["runs"]
    assert {run["name"]: run["step"] for run in found} == {"first": 12, "second": 1}
    assert served.get("/latest/")[0] == 200
    assert json.loads(served.get("/latest/api/curves")[2])["figures"]["reward"][-1] == pytest.approx(0.31)


@pytest.mark.parametrize(
    "path",
    [
        "/../hidden/api/groups", "/%2e%2e/hidden/", "/..%2fhidden/", "/away/", "/notes/", "/nowhere/",
        "/first/pictures/..%2f..%2fconfig.yaml", "/first/pictures/%2e%2e%2fconfig.yaml", "/first/config.yaml",
        "/first/../second/api/../../../hidden", "/first%2f..%2f..%2fhidden/", "//etc/passwd", "/%00/",
        "/first/pictures/0123456789abcdef0123.png", "/first/pictures/%00.png",
    ],
)  # fmt: skip
def test_names_from_outside_lead_nowhere(served: Served, path: str) -> None:
    status, headers, body = served.get(path)
    assert status == 404 and b"rollout" not in body
    assert "script-src 'self'" in headers["content-security-policy"]


@pytest.mark.parametrize("query", ["offset=-1", "limit=0", "limit=1000000", "limit=x", "sort=drop", "reward_from=low"])
def test_a_bad_query_is_one_clear_line(served: Served, query: str) -> None:
    status, _, body = served.get(f"/first/api/groups?{query}")
    assert status == 400 and "\n" not in json.loads(body)["error"]["message"]


def test_pictures_are_pictures_and_pages_run_no_inline_script(served: Served) -> None:
    group = json.loads(served.get("/first/api/groups?limit=1")[2])["groups"][0]
    status, headers, body = served.get(f"/first/pictures/{group['target']}")
    assert status == 200 and headers["content-type"] == "image/png" and body[:4] == b"\x89PNG"
    assert headers["x-content-type-options"] == "nosniff" and "immutable" in headers["cache-control"]
    for path in ("/", "/first/", "/first/step"):
        status, headers, body = served.get(path)
        assert status == 200 and "unsafe" not in headers["content-security-policy"]
        assert b"<script>" not in body and b" onclick=" not in body and b"style=" not in body and b"http" not in body


def test_infinities_in_a_file_do_not_break_a_page(served: Served, tmp_path: Path) -> None:
    run = make(tmp_path / "runs" / "odd", steps=1)
    with (run / "metrics.jsonl").open("a") as out:
        out.write('{"step": 2, "reward": 1e999, "similarity": NaN, "words": "<script>"}\n')
    with (run / "trajectories" / "rollout-0.jsonl").open("a") as out:
        line = (run / "trajectories" / "rollout-0.jsonl").read_text().splitlines()[0]
        out.write(line.replace('"vision": ', '"vision": 1e999, "was": ') + "\n")
    odd = Served(alone(run.parent, "odd"))
    try:
        for path in ("curves", "groups", "state", "step"):
            status, _, body = odd.get(f"/runs/odd/api/{path}")
            assert status == 200
            assert b"Infinity" not in body and b"NaN" not in body
            json.loads(body)
    finally:
        odd.stop()


def test_alone_it_shows_that_run_and_no_other(tmp_path: Path) -> None:
    make(tmp_path / "mine", steps=1)
    make(tmp_path / "other", steps=1)
    served = Served(alone(tmp_path, "mine"))
    try:
        assert served.get("/")[1]["location"] == "/runs/mine/"
        assert served.get("/runs/mine/")[0] == 200 and served.get("/runs/other/")[0] == 404
        assert served.get("/pages/run.js")[0] == 200 and served.get("/pages/../viewer.py")[0] == 404
    finally:
        served.stop()


def test_what_is_appended_is_seen(tmp_path: Path) -> None:
    run = make(tmp_path / "live", steps=1)
    served = Served(viewer(tmp_path))
    try:
        first = json.loads(served.get("/live/api/state")[2])
        make(run, steps=1, first=1)
        deadline = time.monotonic() + 20
        while (found := json.loads(served.get("/live/api/state")[2])) == first:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert found["steps"] == 2
    finally:
        served.stop()
