"""The house: imports run down only, between floors and between the rooms of a floor; a room is small, with one rule."""

import ast
import statistics
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["configs", "actors", "serving", "training"]
# from the lowest: a room may import those before it in its floor, and files in the floor's own folder where listed
ROOMS = {
    "actors": [{"actors.families"}, {"actors"}, {"actors.replay"}, {"actors.rollout"}, {"actors.engine"}],
    "serving": [
        {"serving.jailed", "serving.http"}, {"serving.render", "serving.judge", "serving.viewer"},
        {"serving.capacity", "serving.inference"}, {"serving"},
    ],
    "training": [
        {"training.data"}, {"training.metrics"}, {"training.evaluation"}, {"training.run"}, {"training.learner"},
        {"training.base"}, {"training.jobs"}, {"training"},
    ],
}  # fmt: skip
FILES = [f for floor in FLOORS for f in sorted((ROOT / floor).rglob("*.py"))]
FOLDERS = sorted(
    {f.parent for f in FILES if "pages" not in f.parts} | {f.parent for f in (ROOT / "tests").rglob("*.py")}
)


def modules(path: Path) -> set[str]:
    """Dotted names of everything of the project that a file imports, wherever in the file; names count as modules where
    there is one of that name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(m for a in node.names if exists(m := f"{node.module}.{a.name}"))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {m for m in found if m.split(".")[0] in FLOORS}


def exists(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The folder right under its floor that a module lies in, or the floor itself."""
    head = ".".join(module.split(".")[:2])
    return head if (ROOT / head.replace(".", "/")).is_dir() else module.split(".")[0]


def breaks_rule(own: str, other: str) -> bool:
    """Whether module `own` may not import module `other`."""
    floor, theirs = own.split(".")[0], other.split(".")[0]
    if floor != theirs:
        return FLOORS.index(theirs) > FLOORS.index(floor)
    if floor == "configs" or room_of(own) == room_of(other) or other == floor:
        return False
    heights = {room: n for n, rooms in enumerate(ROOMS[floor]) for room in rooms}
    return heights[room_of(other)] >= heights[room_of(own)]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_down_only(path: Path) -> None:
    own = name_of(path)
    if path.name == "__init__.py":
        own += ".__init__" if own.count(".") else ""
    assert [m for m in sorted(modules(path)) if breaks_rule(own, m)] == []


def test_a_rule_can_be_broken() -> None:
    for own, other in (
        ("configs.load", "actors.files"), ("actors.files", "serving.app"), ("serving.judge.mllm", "serving.render.web"),
        ("serving.jailed.server", "serving.render.charts"), ("serving.render.web", "serving.app"),
        ("training.run.report", "training.learner.loop"), ("training.data.image_sets", "training.train"),
    ):  # fmt: skip
        assert breaks_rule(own, other), f"{own} may import {other}"
        assert other.split(".")[0] != own.split(".")[0] or not breaks_rule(other, own) or room_of(own) != room_of(other)


def test_no_circle_of_imports() -> None:
    """At import time: what stands inside a function or behind TYPE_CHECKING does not count."""
    graph = {name_of(path): at_import(path) for path in FILES}
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(graph.get(module, ())):
                if other != module:
                    visit(other, (*way, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


def at_import(path: Path) -> set[str]:
    """Modules that importing this file imports."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FLOORS:
            inner = {m for a in node.names if exists(m := f"{node.module}.{a.name}")}
            found |= inner or {node.module}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_guarantee(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path} opens without a docstring"


def test_rooms_are_small_and_state_one_rule() -> None:
    assert statistics.median(len(f.read_text().splitlines()) for f in FILES) <= 150
    for folder in {f.parent for f in FILES}:
        files = [f for f in folder.glob("*.py") if f.name != "__init__.py"]
        assert len(files) <= 14, f"{folder.relative_to(ROOT)} holds {len(files)} files"
    for folder in {ROOT / room_of(name_of(f)).replace(".", "/") for f in FILES}:
        opening = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert opening and "mport" in opening, f"{folder.relative_to(ROOT)}/__init__.py does not say what it may import"


def test_only_the_agreed_entries_stand_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    agreed = {*FLOORS, "tests", "pyproject.toml", "README.md", "LICENSE", "Makefile"}
    assert {entry for entry in top if not entry.startswith(".")} <= agreed


def test_no_module_imports_a_command() -> None:
    def is_command(path: Path) -> bool:
        return "__main__" in (text := path.read_text()) and "argparse" in text

    commands = {name_of(path) for path in FILES if is_command(path)}
    assert {"training.train", "serving.render.__main__", "configs.describe"} <= commands
    assert [f"{name_of(p)}: {m}" for p in FILES for m in modules(p) if m in commands and m != name_of(p)] == []


def test_only_commands_have_a_parser() -> None:
    def may(path: Path) -> bool:
        own_folder = path.parent == ROOT / "training" or path.name == "__main__.py"
        return own_folder or name_of(path) in ("serving.app", "configs.describe")

    assert [name_of(p) for p in FILES if "argparse" in p.read_text() and not may(p)] == []


def test_the_list_of_tests_that_start_processes_names_what_is_there() -> None:
    from tests.conftest import PROCESSES

    for place, _, name in (entry.partition("::") for entry in PROCESSES):
        assert (ROOT / "tests" / place).exists(), place
        assert not name or f"def {name}(" in (ROOT / "tests" / place).read_text(), name
