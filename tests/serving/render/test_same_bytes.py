"""The same source gives the same bytes: several times, in any order, under load, whatever fonts the machine has.

`RRVF_SAME=300` draws 300 charts and 100 pages three times on each of three font folders, while every core is busy
otherwise; a few, once, are enough to see that the machinery stands. The folders are mounted where a machine has its
fonts: empty, DejaVu alone, and one that has fonts under the names that programs and pages ask for, in shapes that
nothing here should draw.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.contracts import Outage, RenderResult
from configs.schema import Render, Sandbox
from serving.render import fonts, sandbox
from serving.render.charts import ChartRenderer
from serving.render.web import WebRenderer
from tests.data import real

CHARTS = int(os.environ.get("RRVF_SAME", "2"))
PAGES = max(1, CHARTS // 3)
FULL = CHARTS > 2
TIMES = 3 if FULL else 1
CLAIMED = ("Arial", "Helvetica", "Georgia", "Times New Roman", "Courier New", "sans-serif", "DejaVu Sans", "Roboto")
FAMILIES = ("", "Georgia, serif", "Arial", "'Courier New', monospace")
PATIENT = Sandbox(cpu_s=60, wall_s=120)
Key = tuple[str, int]


def programs() -> list[str]:
    """Of people and of a model, which run; as many as are asked for."""
    written = [json.loads(line) for line in real("vlm_programs.jsonl").read_text().splitlines()]
    drawn = [path.read_text() for path in sorted(real("charts").glob("*.py"))]
    return [*drawn, *(row["code"] for row in written)][:: max(1, 310 // CHARTS)][:CHARTS]


def pages() -> list[str]:
    """Real pages, each in several families of letters."""
    found = [path.read_text(errors="replace") for path in sorted(real("web").glob("*.html"))]
    every = [f"{page}<style>* {{ font-family: {f} }}</style>" if f else page for f in FAMILIES for page in found]
    return every[:: max(1, len(every) // PAGES)][:PAGES]


def font_folders(root: Path) -> dict[str, Path]:
    from fontTools.ttLib import TTFont

    folders = {name: root / name for name in ("none", "dejavu", "many")}
    for folder in folders.values():
        folder.mkdir()
    for path in fonts.folder().glob("DejaVu*.ttf"):
        shutil.copy(path, folders["dejavu"])
    for number, name in enumerate(CLAIMED):
        font = TTFont(sorted(fonts.folder().glob("STIX*.ttf"))[number % 2])
        for record in list(font["name"].names):
            if record.nameID in (1, 4, 6, 16):
                font["name"].setName(name, record.nameID, record.platformID, record.platEncID, record.langID)
        font.save(folders["many"] / f"{number}.ttf")
    return folders


# ends with the test that started it, also where that is killed
BUSY = f"""
import ctypes, os
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG
while os.getppid() == {os.getpid()}: sum(range(10**6))
"""


@contextlib.contextmanager
def load() -> Iterator[None]:
    """A process a core that computes as long as this one lives; fewer where the machine is busy already."""
    cores = os.cpu_count() or 1
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(cores - min(cores, int(os.getloadavg()[0])))]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_what_computes_ends_with_the_test_that_started_it() -> None:
    script = f"import os, subprocess, sys\nBUSY = {BUSY!r}.replace({str(os.getpid())!r}, str(os.getpid()))\n"
    script += "print(subprocess.Popen([sys.executable, '-c', BUSY], stdout=2).pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        busy = Path("/proc", parent.stdout.readline().decode().strip())
        assert busy.exists()
        parent.kill()
    for _ in range(600):
        if not busy.exists():
            return
        time.sleep(0.05)
    raise AssertionError("it computes on")


def outcome(result: RenderResult) -> str:
    return hashlib.sha256(result.png).hexdigest() if result.png else f"{result.kind}: {result.message}"


async def drawn(seed: int, seen: dict[Key, set[str]], charts: list[str], sources: list[str]) -> None:
    """Everything once, in an order of its own, on renderers of its own."""
    rng = random.Random(seed)
    chart, web = ChartRenderer(Render(sandbox=PATIENT)), WebRenderer(Render(sandbox=PATIENT))

    async def side(kind: str, renderer: ChartRenderer | WebRenderer, every: list[str]) -> None:
        for number in rng.sample(range(len(every)), len(every)):
            for _ in range(5):  # a machine under load may lose a render, never change one
                with contextlib.suppress(Outage):
                    result = await renderer.render(every[number])
                    if result.kind != "timeout":
                        seen[kind, number].add(outcome(result))
                        break

    try:
        await asyncio.gather(side("chart", chart, charts), side("page", web, sources))
    finally:
        await chart.close()
        await web.close()


def test_the_same_bytes_always_and_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, seen = sandbox.namespace_flags, defaultdict[Key, set[str]](set)
    charts, sources = programs(), pages()
    with load() if FULL else contextlib.nullcontext():
        folders = font_folders(tmp_path)
        for turn in range(TIMES):
            for folder in folders.values():
                extra = ["--ro-bind", str(folder), "/usr/share/fonts"]
                monkeypatch.setattr(sandbox, "namespace_flags", lambda extra=extra: [*plain(), *extra])
                asyncio.run(drawn(turn, seen, charts, sources))
                print(folder.name, turn, sum(len(found) > 1 for found in seen.values()), "differ", flush=True)
    different = {key: found for key, found in seen.items() if len(found) > 1}
    pictures = sum(len(next(iter(found))) == 64 for found in seen.values())
    print(f"{len(charts)} charts, {len(sources)} pages, {TIMES} times on 3 font folders: {len(different)} differ")
    assert not different and len(seen) == len(charts) + len(sources) and pictures >= 0.8 * len(seen)


async def test_the_fonts_under_other_names_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that looks at the machine's fonts draws with them: the folders make a difference."""
    plain, found = sandbox.namespace_flags, set()
    for folder in font_folders(tmp_path).values():
        extra = ["--ro-bind", str(folder), "/usr/share/fonts"]
        monkeypatch.setattr(sandbox, "namespace_flags", lambda extra=extra: [*plain(), *extra])
        web = WebRenderer(Render(sandbox=PATIENT, machine_fonts=True))
        try:
            found.add(outcome(await web.render("<p style='font-family: Arial'>Some letters")))
        finally:
            await web.close()
    assert len(found) >= 2
