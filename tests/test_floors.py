"""The house: no file imports from a floor above its own, and nothing else stands at the top."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ["configs", "actors", "serving", "training"]
FILES = [f for floor in FLOORS for f in sorted((ROOT / floor).rglob("*.py"))]


def imported_floors(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
    return found & set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_stay_on_or_below_their_floor(path: Path) -> None:
    own = FLOORS.index(path.relative_to(ROOT).parts[0])
    assert [f for f in imported_floors(path) if FLOORS.index(f) > own] == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_guarantee(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), f"{path} opens without a docstring"


def test_only_the_agreed_entries_stand_at_the_top() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    top = {line.split("/")[0] for line in tracked.splitlines()}
    agreed = {*FLOORS, "tests", "pyproject.toml", "README.md", "LICENSE", "Makefile"}
    assert {entry for entry in top if not entry.startswith(".")} <= agreed
