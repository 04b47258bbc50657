"""The pages for people: what they mention exists, and every command line in them is one that a test runs or checks."""

import functools
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from configs.load import load

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *(ROOT / ".github").glob("*.md"))
    if ".venv" not in path.parts
)
WRITTEN = [path for path in PAGES if path != ROOT / "configs" / "README.md"]  # that one is generated
ELSEWHERE = (
    "ray job submit",
    "curl ",
    "pip install",
    "tensorboard",
    "RRVF_",
    "-d ",
)  # clusters, servers, the set-up itself


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks, without comments."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(), re.S)
    whole = [block.replace("\\\n", " ") for block in blocks]
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in whole for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_first_page_is_short_and_names_the_guides() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    for guide in ("actors", "serving", "training", "tests", "configs"):
        assert f"({guide}/README.md)" in text and (ROOT / guide / "README.md").is_file()


@pytest.mark.parametrize("page", WRITTEN, ids=ids)
def test_files_and_links_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for name in re.findall(r"`((?:actors|serving|training|configs|tests|\.github)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", WRITTEN, ids=ids)
def test_settings_exist(page: Path) -> None:
    for key, value in re.findall(
        r"(?<![\w.])([a-z_]+(?:\.[a-z_]+)+)=([^\s\"'`)]+)", re.sub(r"https?://\S+", "ADDRESS", page.read_text())
    ):
        if (ROOT / key.split(".")[0]).with_suffix(".py").exists():
            continue
        value = {"path/to/folder": str(ROOT), "/shared/charts": str(ROOT)}.get(value, value)
        needed = ["judge.backend=mllm"] if key == "judge.url" else ["judge.model=m"] if value == "mllm" else []
        value = value.replace("ADDRESS", "http://127.0.0.1:9/v1").rstrip(".;,")
        load(ROOT / "configs" / "tiny_chart.yaml", [*needed, f"{key}={value}"])


@pytest.mark.parametrize("page", WRITTEN, ids=ids)
def test_commands_exist(page: Path) -> None:
    """A module that is run answers --help, a make target is there, and a config that is named loads."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in commands(page):
        if line.startswith(ELSEWHERE):
            continue
        words = shlex.split(line)
        assert words[0] in ("make", "python"), f"{page.name}: nothing checks {line!r}"
        if words[0] == "make":
            assert words[1] in targets, f"{page.name}: make has no target {words[1]}"
        else:
            assert words[1] == "-m" and answers_help(words[2]), f"{page.name}: {line!r}"
        for word in words:
            if word.startswith("configs/") and word.endswith(".yaml"):
                load(ROOT / word, [])


@functools.cache
def answers_help(module: str) -> bool:
    path = ROOT / module.replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__main__.py"
    if "argparse" not in file.read_text():
        return "__main__" in file.read_text()
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, timeout=300)
    return done.returncode == 0 and b"usage" in done.stdout
