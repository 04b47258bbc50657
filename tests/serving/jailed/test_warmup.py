"""The state that chart programs start from, in a process of its own that is warmed and forked as the server is."""

import subprocess
import sys
from pathlib import Path

from serving.render import sandbox

ROOT = Path(__file__).resolve().parents[3]
WARMED = """
import hashlib, io, os, sys
from serving.jailed.warmup import LIGHT, warm
warm(LIGHT)
from matplotlib import font_manager, pyplot
def drawn():
    figure = pyplot.figure()
    figure.text(0.1, 0.5, "abc ABC")
    figure.canvas.draw()
    return hashlib.sha256(figure.canvas.buffer_rgba()).hexdigest()
def in_child(work):
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.dup2(writer, 0)
        os.closerange(3, 4096)
        os.write(0, repr(work()).encode())
        os._exit(0)
    os.close(writer)
    return os.fdopen(reader).read()
"""


def run(body: str, folder: Path) -> list[str]:
    environment = sandbox.environment(namespaces=False, scratch=str(folder))
    command = [sys.executable, "-B", "-c", WARMED + body]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()


def test_a_child_draws_text_without_opening_a_font_and_as_its_parent_does(tmp_path: Path) -> None:
    opened, in_child, in_parent = run(
        """
opened = []
sys.addaudithook(lambda event, what: opened.append(what[0]) if event == "open" and ".ttf" in str(what[0]) else None)
def work():
    drawn()
    return len(opened)
print(in_child(work), in_child(drawn).strip("'"), drawn())
""",
        tmp_path,
    )
    assert opened == "0"
    assert in_child == in_parent


def test_a_font_in_memory_still_has_its_path_and_a_new_one_is_opened_as_ever(tmp_path: Path) -> None:
    name, is_open, other = run(
        """
path = font_manager.findfont("DejaVu Sans")
print(font_manager.get_font(path).fname == str(path), io.open is open)
print(os.path.basename(in_child(lambda: font_manager.get_font(font_manager.findfont("cmr10")).fname)).strip("'"))
""",
        tmp_path,
    )
    assert (name, is_open, other) == ("True", "True", "cmr10.ttf")
