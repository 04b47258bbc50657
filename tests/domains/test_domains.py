"""A domain is one file: those that ship, one outside, and code that names none of them."""

import asyncio
import re
import subprocess
from pathlib import Path
from random import Random

import pytest

from actors.answers import program
from configs.domains import Unusable, find, shipped, version
from configs.domains.domain import Domain, Look, Question
from configs.load import ConfigError, dump, load
from configs.schema import Render, Sandbox
from serving.judge.perceptual import compare
from serving.render.service import Renders

ROOT = Path(__file__).parents[2]
OUTSIDE = str(Path(__file__).parent / "mathtext.py")
# who may name a domain, and why
MAY = {
    "configs/domains/": "the domains themselves, and which of them is the default",
    "configs/describe.py": "an example in its help",
    "training/data/": "the shipped pictures are of charts",
    "training/base/": "the shipped policy reads charts",
    "training/evaluation/benchmarks.py": "published benchmarks are each of one domain",
    "training/evaluation/grading.py": "a benchmark's own metric is of its domain",
    "training/metrics/": "a benchmark's own metric is of its domain",
}


def test_no_code_elsewhere_names_a_domain() -> None:
    tracked = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = re.compile(rf"""['"]({"|".join(shipped())})['"]""")
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in tracked.split()
        if not path.startswith("tests/") and not any(path.startswith(allowed) for allowed in MAY)
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1)
        if names.search(line)
    ]
    assert found == []


def test_a_domain_is_short() -> None:
    lines = {name: len((ROOT / f"configs/domains/{name}.py").read_text().splitlines()) for name in shipped()}
    assert max(lines.values()) <= 150, lines
    assert len(Path(OUTSIDE).read_text().splitlines()) <= 80


@pytest.mark.parametrize("name", [*shipped(), OUTSIDE])
def test_every_part_of_a_domain_works(name: str) -> None:
    domain = find(name)
    assert domain is find(name) and version(name).startswith(domain.name)
    fence = next(iter(sorted(domain.languages)))
    assert program(f"Here:\n```{fence}\nx\ny\n```", name) == "x\ny"
    assert set(domain.look.weights) == set(domain.look.chance) == set(domain.look.full)
    assert all(f"\n{mark}:" in domain.question.instructions for mark in domain.question.marks)


def test_a_domain_outside_is_drawn_judged_and_refused_by_its_own_rules() -> None:
    async def draw(*sources: str) -> list:
        renders = Renders(Render(sandbox=Sandbox(wall_s=60)))
        try:
            return [await renders.render(source, OUTSIDE) for source in sources]
        finally:
            await renders.close()

    found = asyncio.run(draw(r"\frac{a}{b}", "$\\frac{a}{c}$", "x^2+y", r"\nosuch{a}", "", "a'); b"))
    half, other, far, wrong, empty, quoted = found
    assert half.ok and half.size == (300, 100) and half.message == ""
    scores = [compare(half.png, one.png, OUTSIDE).score for one in (half, other, far)]
    assert scores[0] == 1 > scores[1] > scores[2]
    assert wrong.kind == "exception" and "nosuch" in wrong.message and "line" not in wrong.message.split("^")[0][:30]
    assert empty.kind == "syntax" and empty.message == "a formula is one line and not empty"
    assert quoted.ok  # what it says is set in type, and not run
    assert find(OUTSIDE).example is not None and len({find(OUTSIDE).example(Random(n)) for n in range(40)}) > 20  # type: ignore[misc]


BAD = {
    "absent.py": (None, "no such file"),
    "empty.py": ("x = 1\n", "it defines no DOMAIN"),
    "raises.py": ("1 / 0\n", "it cannot be loaded: ZeroDivisionError: division by zero"),
    "leaves.py": ("raise SystemExit(3)\n", "it cannot be loaded: SystemExit: 3"),
    "syntax.py": ("def\n", "it cannot be loaded: SyntaxError"),
    "terms.py": (
        "from configs.domains.domain import *\nDOMAIN = Domain('a', 'b', 'program', frozenset(), 'c', "
        "Question('d', {'e': 1}), Look(weights={'ink': 1.0}))\n",
        "look.weights names ink; it must name edges, ink, palette, text",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_with_a_file_is_one_line_with_the_key(name: str, tmp_path: Path) -> None:
    text, expected = BAD[name]
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(None, [f"data.domain={tmp_path / name}"])
    (problem,) = caught.value.problems
    assert problem.startswith(f"data.domain={tmp_path / name}: ") and expected in problem
    with pytest.raises(Unusable, match=r"^poem: must be one of chart, svg, web"):
        find("poem")


def test_a_path_is_the_same_from_every_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(Path(OUTSIDE).parent)
    config = load(None, ["data.domain=mathtext.py"])
    assert config.data.domain == OUTSIDE
    (tmp_path / "run.yaml").write_text(dump(config))
    monkeypatch.chdir(tmp_path)
    assert load("run.yaml").data.domain == OUTSIDE


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise KeyError('x')", "raised KeyError: 'x'"),
        ("time.sleep(9)", "took longer"),
        ("return float('nan')", "gave float, no text"),
    ],
)
def test_a_domain_that_fails_or_hangs_is_an_outage_and_no_failed_program(
    body: str, expected: str, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(
        "import time\nfrom configs.domains.domain import *\ndef written(source):\n    " + body + "\n"
        "DOMAIN = Domain('own', 'b', 'program', frozenset(), 'c', Question('d', {'e': 1}), written=written)\n"
    )

    async def draw() -> object:
        renders = Renders(Render(sandbox=Sandbox(cpu_s=1, wall_s=1)))
        try:
            return await renders.render("x", str(tmp_path / "own.py"))
        finally:
            await renders.close()

    from actors.contracts import Outage

    with pytest.raises(Outage, match=f"`written` of the domain own {expected}"):
        asyncio.run(draw())


def test_a_domain_checks_itself() -> None:
    with pytest.raises(ValueError, match="small letters"):
        Domain("A b", "", "program", frozenset(), "", Question("", {"a": 1}))
    with pytest.raises(ValueError, match=r"look\.weights"):
        Domain("a", "", "program", frozenset(), "", Question("", {"a": 1}), Look(way="plot"))
    nan = float("nan")
    with pytest.raises(ValueError, match=r"look\.chance: ink is nan; a number from 0 to 1"):
        Domain("a", "", "program", frozenset(), "", Question("", {"a": 1}), Look(chance={**Look().chance, "ink": nan}))
    with pytest.raises(ValueError, match=r"question\.marks"):
        Domain("a", "", "program", frozenset(), "", Question("", {"a": nan}))
