"""Hostile programs end as they should and reach nothing; good ones always give the same bytes."""

import asyncio
import io
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

from actors.contracts import RenderResult
from configs.schema import Render, Sandbox
from serving.render import charts
from serving.render.charts import ChartRenderer, encode_png
from tests.serving.jailed.canaries import SECRET, Canaries, family, kill_whole, knows_the_secret, secret_in_environment
from tests.serving.jailed.hostile_charts import ATTACKS, source

REFERENCE = """import random, numpy, matplotlib.pyplot as plt
plt.figure(figsize=(2.1, 1.75), dpi=80)
plt.plot(numpy.random.rand(5) + random.random(), label=len(set("abc")))
plt.plot(numpy.random.default_rng().random(5))
plt.title("Sales")
"""
QUICK = Render(sandbox=Sandbox(cpu_s=1, wall_s=60, memory_mb=256))
HASTY = Render(sandbox=Sandbox(cpu_s=1, wall_s=4, memory_mb=256))


@dataclass
class Seen:
    """One attack: how it ended, the reference drawn next, the canaries it reached, what it left of the servers."""

    result: RenderResult
    next: bytes | None
    reached: list[str]
    killed: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)


@dataclass
class Battle:
    """Every attack by its name, and the reference on a server that nobody attacked."""

    seen: dict[str, Seen] = field(default_factory=dict)
    fresh: bytes | None = None
    knows: bool = True


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Battle:
    """Every attack once, three renderers side by side, the reference chart after each attack."""
    found = Battle()
    with secret_in_environment():
        asyncio.run(_fight(found, tmp_path_factory.mktemp("outside")))
    return found


async def _reference(renderer: ChartRenderer) -> bytes | None:
    for _ in range(5):  # on a busy machine even a good program may miss a hasty deadline
        result = await renderer.render(REFERENCE)
        if result.kind != "timeout":
            break
    return result.png


async def _fight(found: Battle, folder: Path) -> None:
    hasty = [attack for attack in ATTACKS if "timeout" in attack[1]]
    patient = [attack for attack in ATTACKS if "timeout" not in attack[1]]

    async def side(config: Render, attacks: list[tuple[str, tuple[str, ...], str]]) -> None:
        renderer = ChartRenderer(config)
        found.fresh = await _reference(renderer)
        found.knows = knows_the_secret(renderer.pids[0])
        processes = {pid: family(pid) for pid in renderer.pids}
        while attacks:
            name, _, attack = attacks.pop()
            canaries = Canaries(folder / name)
            places = {**canaries.places, "SERVER": renderer.pids[0], "WORKER": os.getpid()}
            result = await renderer.render(source(attack, **places))
            after = await _reference(renderer)
            now = {pid: family(pid) for pid in renderer.pids}
            left = {child for pid in processes.keys() & now.keys() for child in now[pid] - processes[pid]}
            found.seen[name] = Seen(result, after, canaries.reached(), processes.keys() - now.keys(), left)
            canaries.close()
            processes = now
        await renderer.close()

    await asyncio.gather(side(QUICK, patient), side(QUICK, patient), side(HASTY, hasty))


def test_threads_of_native_code_are_joined() -> None:
    """pthread_join waits on a futex that is not private; a filter that forbade it in another way would abort it."""
    program = (
        "import numpy, matplotlib.pyplot as plt\nfor n in range(5):\n"
        "    plt.contourf(numpy.random.rand(200, 200), algorithm='threaded', levels=4)"
    )

    async def drawn() -> RenderResult:
        renderer = ChartRenderer(Render(sandbox=Sandbox(wall_s=60)))
        try:
            return await renderer.render(program)
        finally:
            await renderer.close()

    result = asyncio.run(drawn())
    assert result.ok, result.message


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS) >= 60


@pytest.mark.parametrize(("name", "outcomes"), [(name, outcomes) for name, outcomes, _ in ATTACKS])
def test_an_attack_ends_as_it_should_reaches_nothing_and_leaves_nothing(
    battle: Battle, name: str, outcomes: tuple[str, ...]
) -> None:
    seen = battle.seen[name]
    assert (seen.result.kind or "ok") in outcomes, seen.result.message
    assert seen.result.ok or seen.result.message
    folders = (f"{sys.prefix}/", str(Path(__file__).parents[3]), f"{Path.home()}/", "/rrvf")
    for hidden in (SECRET, *folders, "max_source_bytes"):
        assert hidden not in seen.result.message
    assert seen.reached == []
    assert seen.left == set(), "a process outlived its render"
    assert seen.killed == set(), "the server did not survive"
    assert seen.next == battle.fresh is not None


def test_no_server_knows_the_secret(battle: Battle) -> None:
    assert not battle.knows


async def test_the_canaries_would_notice(tmp_path: Path) -> None:
    """The same attacks by a bare interpreter reach what they are after: the canaries can sing."""
    attacks = {name: attack for name, _, attack in ATTACKS}
    for name, canary in (
        ("append_file", "a file outside"),
        ("tcp", "TCP"),
        ("udp", "UDP"),
        ("chmod_file", "a file outside"),
    ):
        canaries = Canaries(tmp_path / name)
        program = source(attacks[name], SERVER=0, WORKER=0, **canaries.places).split("\nimport matplotlib")[0]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
        assert await process.wait() == 0
        assert canaries.reached() == [canary]
        canaries.close()


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
    await kill_whole(renderer.pids[0])
    after = await renderer.render(REFERENCE)
    await renderer.close()
    assert before.ok and before.png == after.png and renderer.starts == 2


async def test_a_child_that_the_machine_kills_is_drawn_again() -> None:
    renderer = ChartRenderer(QUICK)
    slow = "import time\ntime.sleep(4)\n" + REFERENCE
    expected = await renderer.render(slow)
    server = family(renderer.pids[0])
    under_way = asyncio.ensure_future(renderer.render(slow))
    async with asyncio.timeout(30):
        while not (child := family(renderer.pids[0]) - server):
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.2)  # longer than it may compute, which it does not
    os.kill(child.pop(), signal.SIGKILL)
    assert (await under_way).png == expected.png is not None and renderer.starts == 1
    await renderer.close()


async def test_a_server_that_stopped_answering_is_killed_with_all_its_processes_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(charts, "MARGIN_S", 1.0)
    renderer = ChartRenderer(HASTY)
    before = await _reference(renderer)
    stuck = family(renderer.pids[0])
    for pid in stuck - {renderer.pids[0]}:
        os.kill(pid, signal.SIGSTOP)
    after = await _reference(renderer)
    assert before == after is not None and renderer.starts == 2
    assert not any(_alive(pid) for pid in stuck)
    await renderer.close()


def _alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


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
