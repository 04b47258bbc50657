"""The judge in front of its backends: guards, cache, shared and abandoned calls, clear errors; alone and on Serve."""

import asyncio
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from PIL import Image
from ray import serve

from actors import local_ray
from actors.contracts import Domain, Outage, Verdict
from configs.schema import Config, Judge
from serving.judge.service import JudgeClient, VisualJudge, build_backend, deployment
from serving.render.charts import encode_png

ROOT = Path(__file__).parents[3]
Draw = Callable[..., bytes]


class Held:
    """A backend that answers when the test lets it, and counts."""

    version = "held"

    def __init__(self) -> None:
        self.calls = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def judge(self, target: bytes, render: bytes, domain: Domain) -> Verdict:
        self.calls += 1
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return Verdict(0.5, "words", self.version)

    async def close(self) -> None: ...

    def stats(self) -> dict[str, float]:
        return {}


def held(**settings: int) -> tuple[VisualJudge, Held]:
    judge, backend = VisualJudge(Judge(**settings)), Held()  # type: ignore[arg-type]
    judge._backend = backend
    return judge, backend


async def test_guards_answer_without_a_backend(picture: Draw) -> None:
    judge, backend = held()
    assert (await judge.compare(picture("red"), picture("red"))).score == 1
    assert (await judge.compare(picture("red"), picture("white"))).score == 0
    jpeg = io.BytesIO()
    Image.open(io.BytesIO(picture("white"))).save(jpeg, "JPEG")
    assert (await judge.compare(picture("red"), jpeg.getvalue())).score == 0
    assert backend.calls == 0 and judge.stats()["guarded"] == 3


async def test_a_pair_is_judged_once_and_remembered(picture: Draw) -> None:
    judge, backend = held()
    both = [asyncio.create_task(judge.compare(picture("red"), picture("blue"))) for _ in range(2)]
    await asyncio.sleep(0)
    backend.go.set()
    assert [v.score for v in await asyncio.gather(*both)] == [0.5, 0.5]
    await judge.compare(picture("red"), picture("blue"))
    stats = judge.stats()
    assert backend.calls == 1 and stats["joined"] == 1 and stats["hits"] == 1


async def test_domain_and_backend_version_keep_verdicts_apart(picture: Draw) -> None:
    judge, backend = held()
    backend.go.set()
    for domain in ("chart", "web"):
        await judge.compare(picture("red"), picture("blue"), domain)  # type: ignore[arg-type]
    backend.version = "another prompt"
    await judge.compare(picture("red"), picture("blue"))
    assert backend.calls == 3


async def test_the_oldest_verdict_makes_room(picture: Draw) -> None:
    judge, backend = held(cache_entries=2)
    backend.go.set()
    for colour in ("blue", "green", "blue", "black", "blue", "green"):  # green is the least recently used of three
        await judge.compare(picture("red"), picture(colour))
    assert backend.calls == 4


async def test_a_caller_that_gives_up_takes_nobodys_verdict_away(picture: Draw) -> None:
    judge, backend = held()
    first, second = (asyncio.create_task(judge.compare(picture("red"), picture("blue"))) for _ in range(2))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    backend.go.set()
    assert (await second).score == 0.5 and first.cancelled() and backend.calls == 1


async def test_an_outage_reaches_everyone_and_is_not_remembered(picture: Draw) -> None:
    judge, backend = held()
    backend.error = Outage("judge", "away")
    backend.go.set()
    both = await asyncio.gather(
        *(judge.compare(picture("red"), picture("blue")) for _ in range(2)), return_exceptions=True
    )
    assert all(isinstance(e, Outage) for e in both)
    backend.error = None
    assert (await judge.compare(picture("red"), picture("blue"))).score == 0.5
    assert judge.stats()["outages"] == 1


def giant() -> bytes:
    """The header of a PNG of 60,000 x 60,000 pixels and nothing else."""
    head = Image.new("1", (1, 1))
    out = io.BytesIO()
    head.save(out, "PNG")
    data = bytearray(out.getvalue())
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    return bytes(data)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"", "not a readable image"),
        (b"<svg/>", "not a readable image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 64, "not a readable image"),
        (giant(), "pixels|not a readable image"),
    ],
)
async def test_a_target_that_is_no_image_is_one_clear_line_and_a_render_scores_nothing(
    picture: Draw, bad: bytes, words: str
) -> None:
    judge = VisualJudge(Judge())
    for render in (picture(), bad):
        with pytest.raises(ValueError, match=words) as caught:
            await judge.compare(bad, render)
        assert "\n" not in str(caught.value)
    verdict = await judge.compare(picture(), bad)
    assert verdict.score == 0 and re.search(words, verdict.feedback) and judge.stats()["refused"] == 3


async def test_a_truncated_image_is_one_clear_line(picture: Draw) -> None:
    whole = picture("red", (400, 300))
    with pytest.raises(ValueError, match=r"truncated|readable"):
        await VisualJudge(Judge()).compare(whole[:200], whole)


async def test_a_picture_of_a_million_pixels_in_one_direction_scores_nothing(picture: Draw) -> None:
    verdict = await VisualJudge(Judge()).compare(picture(), encode_png(1_000_100, 3, bytes(3 * 3 * 1_000_100)))
    assert verdict.score == 0 and "cannot be read" in verdict.feedback


async def test_what_is_wrong_with_neither_picture_is_no_verdict(picture: Draw) -> None:
    judge, backend = held()
    backend.error = ValueError("the backend is confused")
    backend.go.set()
    with pytest.raises(ValueError, match="confused"):
        await judge.compare(picture("red"), picture("blue"))


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ValueError, match="'psychic'; there are perceptual"):
        build_backend(Judge(backend="psychic"))
    with pytest.raises(ValueError, match=r"needs judge\.url"):
        build_backend(Judge(backend="mllm"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "serving.judge", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_the_command_prints_a_verdict_or_one_line(tmp_path: Path, picture: Draw) -> None:
    a, b, junk = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "junk.png"
    a.write_bytes(picture("red"))
    b.write_bytes(picture("blue"))
    junk.write_bytes(b"junk")
    done = run(str(a), str(b))
    verdict = json.loads(done.stdout)
    assert done.returncode == 0 and 0 < verdict["score"] < 1 and "blue" in verdict["feedback"]
    turned = Image.open(a).transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    assert json.loads(run(str(a), str(tmp_path / "turned.jpg")).stdout)["score"] > 0.9
    for target, render in ((junk, a), (a, tmp_path / "absent.png")):
        done = run(str(target), str(render))
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    done = run(str(a), str(b), "--backend", "mllm", "--url", "http://127.0.0.1:9/v1")
    assert done.returncode == 1 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def handle() -> Iterator[object]:
    local_ray.start(4)
    serve.start(proxy_location="Disabled")
    try:
        yield serve.run(deployment(Config()), name="judge", route_prefix=None)
    finally:
        serve.shutdown()
        ray.shutdown()


def test_the_deployment_answers_counts_and_words_errors(handle: object, picture: Draw) -> None:
    client = JudgeClient(handle, Config())

    async def ask() -> list[Verdict]:
        return await asyncio.gather(*(client.compare(picture("red"), picture("blue"), "chart") for _ in range(8)))

    verdicts = asyncio.run(ask())
    assert len({v.score for v in verdicts}) == 1 and "blue" in verdicts[0].feedback
    with pytest.raises(ValueError, match="not a readable image") as caught:
        asyncio.run(client.compare(b"x", picture("red"), "chart"))
    assert type(caught.value) is ValueError and "\n" not in str(caught.value)
    stats = handle.stats.remote().result(timeout_s=60)  # type: ignore[attr-defined]
    assert stats["asked"] == 9 and stats["refused"] == 1 and stats["hits"] + stats["joined"] == 7


def test_a_deployment_that_is_gone_is_an_outage_by_the_deadline(handle: object, picture: Draw) -> None:
    client = JudgeClient(handle, Config(judge=Judge(deadline_s=5)))
    serve.delete("judge")
    with pytest.raises(Outage, match="no verdict"):
        asyncio.run(client.compare(picture("red"), picture("green"), "chart"))
