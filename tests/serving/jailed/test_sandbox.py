"""Every layer is active here, refuses by itself what it should, and its absence is an error unless it is excused."""

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import pytest

from configs.schema import Render, Sandbox
from serving.render import sandbox
from serving.render.charts import ChartRenderer

# one layer at a time, so that none of them hides behind another
ALONE = {
    "landlock": "open('/etc/hostname').read()",
    "seccomp": "import socket; socket.socket()",
    "limits": "open('big', 'wb').write(bytes(20_000_000))",
}
ENTER = """import os, signal, sys
from serving.jailed.layers import Jail
os.chdir(sys.argv[1])
jail = Jail(sys.argv[1], sys.argv[3:])
jail.enter(cpu_s=9, memory_bytes=2**34)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    exec(sys.argv[2])
except OSError as error:
    print("refused", error.errno)
else:
    print("done")
"""


def attempt(folder: object, program: str, layers: list[str]) -> str:
    argv = [sys.executable, "-c", ENTER, str(folder), program, *layers]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, cwd=sandbox.ROOT).stdout


@pytest.mark.parametrize("layer", ALONE)
def test_a_layer_refuses_alone_what_passes_without_it(layer: str, tmp_path: object) -> None:
    assert attempt(tmp_path, ALONE[layer], [layer]).startswith("refused")
    assert attempt(tmp_path, ALONE[layer], []) == "done\n"


@pytest.mark.parametrize("copied", [False, True])
def test_a_checkout_below_a_name_that_is_the_programs_folder_has_its_jail(copied: bool) -> None:
    """People clone to /tmp, and on Colab to /content: what Python needs there must not be hidden by that folder."""
    with tempfile.TemporaryDirectory(prefix="rrvf a-", dir="/tmp") as folder:
        venv.create(folder, symlinks=True)
        look = "import json; from serving.render import sandbox; print(json.dumps(sandbox.probe()))"
        if copied:  # as if Python itself lay there
            look = f"import sys; sys.base_prefix = sys.prefix = {folder!r}; {look}"
        environment = os.environ | {"PYTHONPATH": str(sandbox.ROOT)}
        argv = [f"{folder}/bin/python", "-c", look]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=120, check=True)
        found = json.loads(done.stdout)
        if not copied:
            assert found["namespaces"] == "" == found["limits"], found  # the other layers' packages are not in it
        else:  # its interpreter is a link to one that the jail does not see; the folders are no obstacle
            assert "symlink" not in found["namespaces"], found


def test_namespaces_show_no_process_no_network_and_no_file_of_ours(tmp_path: object) -> None:
    look = (
        "import json, os, socket; print(json.dumps([sorted(os.listdir('/')), len([p for p in os.listdir('/proc') "
        "if p.isdigit()]), socket.if_nameindex(), os.getuid(), list(os.environ)]))"
    )
    argv = sandbox.command("serving.jailed.layers", [], namespaces=True)
    argv = [*argv[: argv.index("-m")], "-c", look]
    environment = sandbox.environment(namespaces=True, scratch="")
    out = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout
    roots, processes, interfaces, uid, variables = json.loads(out)
    assert processes <= 3 and uid == 65534
    assert [name for _, name in interfaces] == ["lo"]
    assert not {"home", "var", "opt", "srv"} & set(roots)
    assert set(variables) <= set(environment) | {"PWD", "LC_CTYPE"}


def test_all_layers_are_active_here() -> None:
    assert sandbox.probe() == dict.fromkeys(sandbox.LAYERS, "")


def test_a_missing_layer_stops_the_renderer_unless_it_is_excused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {**dict.fromkeys(sandbox.LAYERS, ""), "namespaces": "bwrap is not installed"}
    monkeypatch.setattr(sandbox, "probe", lambda: found)
    with pytest.raises(sandbox.MissingLayer, match=r"'namespaces'.*bwrap is not installed.*allow_missing"):
        ChartRenderer(Render())
    excused = ChartRenderer(Render(sandbox=Sandbox(allow_missing=["namespaces"])))
    assert excused.layers == ("landlock", "seccomp", "limits")
    with pytest.raises(sandbox.MissingLayer, match="no layer"):
        ChartRenderer(Render(sandbox=Sandbox(allow_missing=["namespace"])))


async def test_without_namespaces_the_same_bytes_and_the_same_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    chart = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.title('x')"
    whole = ChartRenderer(Render())
    monkeypatch.setattr(sandbox, "probe", lambda: {**dict.fromkeys(sandbox.LAYERS, ""), "namespaces": "not here"})
    less = ChartRenderer(Render(sandbox=Sandbox(allow_missing=["namespaces"])))
    try:
        one, other = await whole.render(chart), await less.render(chart)
        assert one.ok and one.png == other.png
        for attack in (
            "open('/etc/hostname')",
            "import socket; socket.socket()",
            "import os; os.kill(os.getppid(), 9)",
        ):
            assert (await less.render(attack)).kind == "forbidden"
    finally:
        await whole.close()
        await less.close()


DRAW = """
import asyncio, os, sys
from configs.schema import Render, Sandbox
from serving.render import sandbox
from serving.render.charts import ChartRenderer
from serving.render.web import WebRenderer
if sys.argv[1] == "without":
    sandbox.probe = lambda: {**dict.fromkeys(sandbox.LAYERS, ""), "namespaces": "not here"}
settings = Render(sandbox=Sandbox(allow_missing=["namespaces"]))
async def main():
    assert (await ChartRenderer(settings).render("import matplotlib.pyplot as plt; plt.plot([1, 2])")).ok
    if sys.argv[1] == "with":
        assert (await WebRenderer(settings).render("<h1>a</h1>")).ok
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.parametrize("namespaces", ["with", "without"])
def test_a_renderer_that_is_killed_leaves_no_file_behind(namespaces: str, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", DRAW, namespaces], env={**os.environ, "TMPDIR": str(temporary)}, cwd=sandbox.ROOT,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    for _ in range(200):
        if not (left := list(temporary.glob("rrvf-*"))):
            return
        time.sleep(0.05)
    raise AssertionError(left)


FAMILY = """
import os
from pathlib import Path
from serving.render.sandbox import tree_bytes
block = b"x" * 2**26
reader, writer = os.pipe()
for _ in range(2):
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent is done
        os._exit(0)
own = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
print(tree_bytes(os.getpid()), own, len(block))
"""


def test_memory_that_processes_share_counts_once() -> None:
    """In a process of its own: the tests' process may have other children."""
    done = subprocess.run([sys.executable, "-c", FAMILY], capture_output=True, text=True, timeout=60, check=True)
    total, own, block = map(int, done.stdout.split())
    assert own > block and total < own + block / 2
