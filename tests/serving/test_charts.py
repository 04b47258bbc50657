"""Hostile programs end as they should and reach nothing; good ones always give the same bytes."""

import asyncio
import io
import json
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from actors.contracts import RenderResult
from configs.schema import Render, Sandbox
from serving.charts import ChartRenderer, encode_png
from tests.serving.hostile_charts import ATTACKS, source

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
REFERENCE = """import random, numpy, matplotlib.pyplot as plt
plt.figure(figsize=(2.1, 1.75), dpi=80)
plt.plot(numpy.random.rand(5) + random.random(), label=len(set("abc")))
plt.plot(numpy.random.default_rng().random(5))
plt.title("Sales")
"""
QUICK = Render(sandbox=Sandbox(cpu_s=1, wall_s=4, memory_mb=256))
SECRET = "canary-8d1f"


@dataclass
class Field:
    """What the attacks left: their results, the reference after each, and the canaries."""

    results: dict[str, RenderResult] = field(default_factory=dict)
    after: dict[str, bytes | None] = field(default_factory=dict)
    fresh: bytes | None = None
    starts: int = 0
    contacts: int = 0
    file: str = ""
    target: bytes = b""
    folder: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Field:
    """Every attack once, on two renderers side by side, the reference chart after each of them."""
    found = Field()
    folder = tmp_path_factory.mktemp("outside")
    file, target = folder / "secret.txt", folder / "target.png"
    file.write_text(SECRET)
    Image.new("RGB", (8, 8), "red").save(target)
    before = target.read_bytes()
    os.environ["RRVF_CANARY"] = SECRET
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        places = {"FILE": file, "TARGET": target, "TCP": tcp.getsockname()[1], "UDP": udp.getsockname()[1]}
        asyncio.run(_fight(found, {**places, "WORKER": os.getpid()}))
        for listener in (tcp, udp):
            listener.setblocking(False)
            try:
                listener.accept() if listener is tcp else listener.recv(1)
                found.contacts += 1
            except BlockingIOError:
                pass
    del os.environ["RRVF_CANARY"]
    found.file = file.read_text()
    assert target.read_bytes() == before
    found.folder = sorted(os.listdir(folder))
    return found


async def _fight(found: Field, places: dict[str, object]) -> None:
    attacks = list(ATTACKS)

    async def side(renderer: ChartRenderer) -> None:
        found.fresh = (await renderer.render(REFERENCE)).png
        while attacks:
            name, _, attack = attacks.pop()
            found.results[name] = await renderer.render(source(attack, SERVER=renderer.pids[0], **places))
            found.after[name] = (await renderer.render(REFERENCE)).png
        found.starts += renderer.starts
        await renderer.close()

    await asyncio.gather(side(ChartRenderer(QUICK)), side(ChartRenderer(QUICK)))


@pytest.mark.parametrize(("name", "outcomes"), [(name, outcomes) for name, outcomes, _ in ATTACKS])
def test_an_attack_ends_as_it_should_and_the_next_render_is_clean(
    battle: Field, name: str, outcomes: tuple[str, ...]
) -> None:
    result = battle.results[name]
    assert (result.kind or "ok") in outcomes, result.message
    assert result.ok or result.message
    for hidden in (SECRET, "site-packages", "/work/", "/root/", "rrvf"):
        assert hidden not in result.message
    assert battle.after[name] == battle.fresh is not None


def test_no_canary_was_reached_and_the_servers_survived(battle: Field) -> None:
    assert battle.contacts == 0
    assert battle.file == SECRET
    assert battle.folder == ["secret.txt", "target.png"]
    # two light servers, two heavy ones, and one more for each flood of files, which is cheaper to abandon than to tidy
    assert battle.starts <= 4 + 2


CAPTURED = {
    "shows": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.plot([1])\nplt.show()",
    "saves_anywhere": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.savefig('/no/such/x.pdf')",
    "closes": "import matplotlib.pyplot as plt\nf = plt.figure(figsize=(2, 1))\nf.savefig('x')\nplt.close(f)",
    "closes_unsaved": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.close('all')",
    "leaves_open": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))",
    "last_is_current": "import matplotlib.pyplot as plt\nplt.figure()\nplt.figure(figsize=(2, 1))",
    "last_saved": "import matplotlib.pyplot as plt\nf = plt.figure(figsize=(2, 1))\nplt.figure()\nf.savefig('a')",
    "wants_a_window": "import matplotlib\nmatplotlib.use('TkAgg')\nfrom matplotlib import pyplot as plt\n"
    "plt.figure(figsize=(2, 1)).show()",
    "own_canvas": "from matplotlib.figure import Figure\nFigure(figsize=(2, 1)).savefig('x.svg')",
    "exits": "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nraise SystemExit(1)",
    "asks_for_dpi": "import matplotlib.pyplot as plt\nplt.figure(figsize=(1, 0.5)).savefig('x', dpi=200)",
    "into_memory": "import io, matplotlib.pyplot as plt\nfrom PIL import Image\nb = io.BytesIO()\n"
    "plt.figure(figsize=(2, 1)).savefig(b)\nassert Image.open(b).size == (200, 100)",
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, RenderResult]:
    async def all_of_them() -> dict[str, RenderResult]:
        renderer = ChartRenderer(QUICK)
        results = {name: await renderer.render(program) for name, program in CAPTURED.items()}
        await renderer.close()
        return results

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("name", CAPTURED)
def test_whatever_way_a_figure_leaves_it_is_the_picture(drawn: dict[str, RenderResult], name: str) -> None:
    result = drawn[name]
    assert result.ok, result.message
    assert result.png is not None
    assert result.size == (200, 100) == Image.open(io.BytesIO(result.png)).size


async def test_a_message_names_the_error_the_line_and_the_source_line() -> None:
    renderer = ChartRenderer(QUICK)
    failed = await renderer.render("import matplotlib.pyplot as plt\n\nplt.plot([1, 2], [1])\n")
    broken = await renderer.render("x = (1,\ny = 2")
    await renderer.close()
    assert failed.kind == "exception" and "(line 3: plt.plot([1, 2], [1]))" in failed.message
    assert failed.message.startswith("ValueError: x and y must have same first dimension")
    assert broken.kind == "syntax" and "line 1: x = (1," in broken.message


async def test_a_killed_server_is_replaced_and_draws_the_same_bytes() -> None:
    renderer = ChartRenderer(QUICK)
    before = await renderer.render(REFERENCE)
    os.kill(renderer.pids[0], 9)
    after = await renderer.render(REFERENCE)
    await renderer.close()
    assert before.ok and before.png == after.png and renderer.starts == 2


async def test_a_cancelled_render_does_not_answer_the_next_one() -> None:
    renderer = ChartRenderer(QUICK)
    await renderer.render(REFERENCE)
    waiting = asyncio.ensure_future(renderer.render("import time\ntime.sleep(3)"))
    await asyncio.sleep(0.5)
    waiting.cancel()
    assert (await renderer.render(CAPTURED["shows"])).size == (200, 100)
    await renderer.close()


def test_png_of_raw_rows_decodes_to_the_same_pixels() -> None:
    picture = Image.effect_noise((37, 21), 80).convert("RGB")
    decoded = Image.open(io.BytesIO(encode_png(37, 21, picture.tobytes())))
    assert decoded.size == (37, 21) and decoded.tobytes() == picture.tobytes()


# Axes.boxplot(labels=) was removed after Matplotlib 3.8; squarify is not installed
DRIFT = {"box_16", "tree_1", "tree_2"}


def test_programs_of_a_real_model_and_gallery_charts_end_as_they_did() -> None:
    rows = [json.loads(line) for line in (DATA / "vlm_programs.jsonl").read_text().splitlines()]
    gallery = sorted((DATA / "charts").glob("*.py"))

    async def run() -> tuple[list[RenderResult], list[RenderResult]]:
        renderers = [ChartRenderer(Render()), ChartRenderer(Render())]
        work = [row["code"] for row in rows] + [path.read_text() for path in gallery]
        results: list[RenderResult | None] = [None] * len(work)
        left = iter(range(len(work)))

        async def side(renderer: ChartRenderer) -> None:
            for index in left:
                results[index] = await renderer.render(work[index])
            await renderer.close()

        await asyncio.gather(*map(side, renderers))
        done = [result for result in results if result is not None]
        return done[: len(rows)], done[len(rows) :]

    model, people = asyncio.run(run())
    wrong = {
        row["id"]
        for row, result in zip(rows, model, strict=True)
        if result.ok != row["ran_in_matplotlib_3_8_4"] or not (result.ok or "line" in result.message)
    }
    assert wrong <= DRIFT
    assert [path.name for path, result in zip(gallery, people, strict=True) if not result.ok] == []
