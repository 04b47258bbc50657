"""The benchmarks' command end to end: a policy on the engine, an endpoint that fails at times, resuming, the table."""

import asyncio
import base64
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from actors.contracts import Outage
from configs.schema import Render
from training.evaluate import main, parse
from training.evaluation import benchmarks, scoreboard
from training.evaluation.grading import Grader
from training.evaluation.models import EndpointAnswers
from training.jobs.evaluate import settings_of
from training.metrics import design2code

IMPORT = "import matplotlib.pyplot as plt\n"
GOOD = f"{IMPORT}plt.bar(['a', 'b'], [1, 2], color='red')\nplt.title('Sales')\nplt.savefig('x.png')\n"
HALF = GOOD.replace("plt.title('Sales')", "plt.title('Sales')\nraise ValueError('half')")
OTHER = f"{IMPORT}plt.plot([1, 2], color='blue')\nplt.title('Sales')\nplt.show()\n"


class Model:
    """An OpenAI-compatible endpoint that answers the n-th picture (known by its width) with the n-th text."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.asked: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self.down = False
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "the-model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        data = body["messages"][0]["content"][0]["image_url"]["url"].split(",")[1]
        number = Image.open(io.BytesIO(base64.b64decode(data))).width - 100
        self.asked.append(number)
        if self.down:
            return web.json_response({"error": "the key is wrong"}, status=401)
        if self.asked.count(number) == 1:  # the first time is overload, as with every busy service
            return web.json_response({"error": "busy"}, status=503)
        content: Any = self.answers[number]
        if number == 1:  # some answer in parts
            content = [{"type": "text", "text": content[:9]}, {"type": "text", "text": content[9:]}]
        return web.json_response({"choices": [{"message": {"content": content}}]})


@pytest.fixture
def model() -> Iterator[Model]:
    found = Model([f"```python\n{GOOD}```", f"```python\n{HALF}```", f"```python\n{OTHER}```", "I cannot draw."])
    loop = asyncio.new_event_loop()
    runner: web.AppRunner | None = None

    async def start() -> None:
        nonlocal runner
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/v1/models", found.models)
        app.router.add_post("/v1/chat/completions", found.chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    yield found
    assert runner is not None
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(30)


def dataset(root: Path, count: int = 4) -> Path:
    root.mkdir()
    for number in range(count):
        Image.new("RGB", (100 + number, 80), "white").save(root / f"bar_{number}.png")
        (root / f"bar_{number}.py").write_text(GOOD)
    return root


def samples(out: Path) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in map(json.loads, (out / "samples.jsonl").read_text().splitlines())}


def test_an_endpoint_on_chartmimic(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RRVF_MODEL_KEY", "secret")
    data, out = dataset(tmp_path / "data"), tmp_path / "out"
    command = ["chartmimic", "--model", model.url, "--data", str(data), "--out", str(out), "--judge", "perceptual"]
    assert main([*command, "--limit", "2"]) == 0
    assert sorted(model.asked) == [0, 0, 1, 1]  # busy once each
    body = model.bodies[0]
    assert body["model"] == "the-model" and body["temperature"] == 0 and "100 x 80 pixels" in body["messages"][0][
        "content"
    ][1]["text"]  # fmt: skip
    assert main(command) == 2 and "go on with --resume" in capsys.readouterr().err
    assert main([*command[:-1], "", "--resume"]) == 2 and "choose another --out" in capsys.readouterr().err
    assert main([*command, "--resume", "sampling.max_tokens=9"]) == 2
    assert "begun with settings='', this is 'sampling.max_tokens=9'" in capsys.readouterr().err
    with (out / "samples.jsonl").open("a") as file:
        file.write('{"name": "bar_2", "torn')  # killed while writing
    assert main([*command, "--resume"]) == 0
    assert sorted(model.asked) == [0, 0, 1, 1, 2, 2, 3, 3]  # what was graded is not asked again
    rows = samples(out)
    assert [rows[f"bar_{n}"]["executed"] for n in range(4)] == [True, False, True, False]
    assert rows["bar_0"]["scores"]["text"] == rows["bar_0"]["scores"]["color"] == 1.0
    assert rows["bar_1"]["scores"]["text"] == 0.0 and rows["bar_1"]["partial"]["text"] == 1.0
    assert rows["bar_3"]["failure"] == "no program in the answer" and rows["bar_3"]["scores"]["judge"] == 0.0
    result = json.loads((out / "summary.json").read_text())
    strict, loose = result["scores"]["code_pass"], result["scores"]["no_filter"]
    assert result["n"] == 4 and strict["exec"] == 50.0
    assert strict["text"] == 50.0 and loose["text"] == 75.0  # of four: the title is right in two, in three
    assert strict["type"] == 25.0 and strict["layout"] == 50.0
    assert strict["average"] == pytest.approx((50 + 50 + 25 + strict["color"]) / 4, abs=0.01)
    assert strict["overall"] == pytest.approx((strict["average"] + strict["judge"]) / 2, abs=0.01)
    assert "| code_pass | 50.00 | 50.00 | 50.00 | 25.00 |" in (out / "summary.md").read_text()
    assert (out / "summary.md").read_text().startswith("# chartmimic: the-model\n")
    for number in range(4):
        assert Image.open(out / "pictures" / f"bar_{number}.png").width > 2 * 100
    assert Image.open(out / "scores.png").width > 300 and Image.open(out / "examples.png").width > 300
    assert "secret" not in "".join(path.read_text() for path in out.glob("*.json*"))


def test_an_outage_leaves_a_case_open_and_scores_nothing(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    model.down = True
    out = tmp_path / "out"
    command = ["folder", "--model", model.url, "--data", str(dataset(tmp_path / "data", 1)), "--out", str(out)]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "bar_0: model: " in err and "refuses with HTTP 401: " in err and "go on with --resume" in err
    assert samples(out) == {} and not (out / "summary.json").exists()
    model.down = False
    assert main([*command, "--resume"]) == 0
    assert json.loads((out / "summary.json").read_text())["scores"]["all"] == {
        "exec": 100.0, "judge": scoreboard.NO_JUDGE,
    }  # fmt: skip


def test_a_case_without_a_reference_that_runs_is_left_out_and_named(tmp_path: Path, model: Model) -> None:
    data, out = dataset(tmp_path / "data", 2), tmp_path / "out"
    (data / "bar_1.py").write_text("import a_library_that_is_not_here\n")
    model.answers = [f"```python\n{GOOD}```"] * 2
    assert main(["chartmimic", "--model", model.url, "--data", str(data), "--out", str(out)]) == 0
    result = json.loads((out / "summary.json").read_text())
    assert result["n"] == 1 and result["scores"]["code_pass"]["text"] == 100.0
    assert "a_library_that_is_not_here" in result["void"]["bar_1"]
    assert "Left out: bar_1: its reference program does not run here" in (out / "summary.md").read_text()


async def test_a_reference_that_dies_is_tried_again_and_not_left_out_for_good() -> None:
    case = benchmarks.Case("bar", None, "import os\nos._exit(1)")
    grader = Grader(benchmarks.Benchmark("folder", "chart", (case,), {}), Render(), None, None, None)
    with pytest.raises(Outage, match="render: a reference: the program ended its own process"):
        await grader.target(case)
    await grader.close()


def test_a_picture_that_no_model_takes_is_left_out_and_one_that_is_not_there_stays_open(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = dataset(tmp_path / "data", 3), tmp_path / "out"
    (data / "bar_1.png").write_bytes(b"torn")
    gone = data / "bar_2.png"
    found = benchmarks.load("folder", data, None)
    monkeypatch.setattr(benchmarks, "load", lambda *rest: found)
    kept = gone.read_bytes()
    gone.unlink()
    command = ["folder", "--model", model.url, "--data", str(data), "--out", str(out)]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "open: bar_2: " in err and "bar_1" not in err
    gone.write_bytes(kept)
    assert main([*command, "--resume"]) == 0
    result = json.loads((out / "summary.json").read_text())
    assert result["n"] == 2 and result["void"].keys() == {"bar_1"} and "not a readable image" in result["void"]["bar_1"]


async def test_an_answers_deadline_begins_with_its_turn(model: Model) -> None:
    """Where many wait for few, each has the whole of its seconds."""
    under_way = 0

    class Slow(EndpointAnswers):
        async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
            nonlocal under_way
            under_way += 1
            assert under_way == 1
            await asyncio.sleep(2)
            under_way -= 1
            return {"choices": [{"message": {"content": "x"}}]}

    slow = Slow("http://127.0.0.1:9/v1", "m", concurrency=1, s=5)
    assert await asyncio.gather(*(slow.ask([], "?") for _ in range(4))) == ["x"] * 4


def test_pages_are_rendered_offline_and_clip_says_that_it_is_missing(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "<html><body style='margin:0'><h1>Hello</h1><img src='rick.jpg'><p>World of words</p></body></html>"
    data = tmp_path / "data"
    data.mkdir()
    (data / "0.html").write_text(page)
    Image.new("RGB", (30, 20), "green").save(data / "rick.jpg")
    model.answers = [f"```html\n{page}\n```"] * 2000
    compare, where = design2code.compare, []
    monkeypatch.setattr(
        design2code, "compare", lambda *rest: where.append(threading.current_thread()) or compare(*rest)
    )
    out = tmp_path / "out"
    assert main(["design2code", "--model", model.url, "--data", str(data), "--out", str(out)]) == 0
    assert len(where) == 1 and where[0] is not threading.main_thread()  # others' deadlines are not held up
    (row,) = samples(out).values()  # its screenshot was not there: the page was rendered
    assert row["scores"]["block"] == row["scores"]["text"] == row["scores"]["position"] == pytest.approx(1.0)
    both = Image.open(out / row["pictures"]).convert("RGB")
    green = [n for n, colour in both.getcolors(2**20) or [] if colour[1] > 100 and colour[0] < 40]
    assert sum(green) >= 2 * 500  # the placeholder on both sides
    cells = json.loads((out / "summary.json").read_text())["scores"]["all"]
    assert cells["clip"] == cells["final"] == "no CLIP model: --clip PATH"
    assert "[^1]: no CLIP model: --clip PATH" in (out / "summary.md").read_text()


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_full_size_model_finds_room_and_the_gpu(gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    command = ["design2code", "--model", "Qwen/Qwen2.5-VL-7B-Instruct", "--data", "testset_final"]
    config = settings_of(parse(command))
    assert config.engine.gpus == min(1, gpus) and config.policy.dtype == "bfloat16"
    a_token = 28 * 2 * 4 * 128 * 2  # bytes: layers, keys and values, heads, their width, bfloat16
    assert config.engine.max_model_len * a_token <= config.engine.kv_cache_mb * 2**20
    assert settings_of(parse([*command, "engine.gpus=2"])).engine.gpus == 2
    assert settings_of(parse([*command, "--config", "configs/tiny_chart.yaml"])).engine.gpus == 0


def test_a_policy_on_the_engine(tmp_path: Path, tiny_model: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    for number in range(3):
        Image.new("RGB", (168, 140), ("red", "white", "blue")[number]).save(data / f"{number}.png")
    command = ["folder", "--model", str(tiny_model), "--data", str(data), "--out", str(out)]
    assert (
        main([*command, "--judge", "perceptual", "--config", "configs/tiny_chart.yaml", "sampling.max_tokens=8"]) == 0
    )
    rows = samples(out)
    assert sorted(rows) == ["0", "1", "2"] and all(row["response"] for row in rows.values())
    cells = json.loads((out / "summary.json").read_text())["scores"]["all"]
    assert cells == {"exec": 0.0, "judge": 0.0}  # random weights write no program
