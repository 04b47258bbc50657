"""The published questions of the benchmarks' judges and their prompts, read from the user's own clone.

Guarantees: nothing of them stands here; what is asked is word for word what the files hold, in the order of the
original (text, reference, candidate), and a mark is read as the original reads it. `ours` and published marks are never
in one table: an evaluation has the one or the other.
"""

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

from configs.load import ConfigError

JUDGES = {
    "chartmimic": "chart2code/prompts/GPT4EvaluationAgent/gpt-4-vision-preview.json",
    "plot2code": "plot2code/eval/gpt4v_evaluations_score.py",
}
PROMPTS = {
    "chartmimic": "chart2code/prompts/DirectAgent/gpt-4-vision-preview.json",
    "plot2code": "plot2code/utils.py",
}
MARKS = {"chartmimic": 100.0, "plot2code": 10.0, "websight": 100.0}
SCORE = re.compile(r"^[\s*#]*Score[\s*]*:[\s*]*(\d+(?:\.\d+)?)\s*(?:/\s*100)?", re.M | re.I)
RATING = re.compile(r"Rating: \[\[(\d+)\]\]")
DPI = 120  # of ChartMimic's pictures


@dataclass(frozen=True)
class Question:
    """`system` may be empty; `most`: the mark of a perfect copy."""

    source: str
    system: str
    text: str
    most: float

    def mark(self, answer: str) -> float | None:
        """0..most as the model gave it; None where it gave none."""
        marks = (RATING if self.most == 10 else SCORE).findall(answer)
        mark = float(marks[0 if self.most == 10 else -1]) if marks else -1.0
        return mark if 0 <= mark <= self.most else None


def judge(benchmark: str, path: Path) -> Question:
    """The question of a benchmark's judge; `path`: its clone, or the file itself (WebSight's paper published none: a
    text that asks for `Score: n`). Raises ConfigError."""
    if benchmark not in MARKS:
        raise ConfigError(f"--questions: {benchmark} has no judge; those that have: {', '.join(MARKS)}")
    system, text = _read(benchmark, path, JUDGES, "--questions")
    return Question(str(path), system, text, MARKS[benchmark])


def prompt(benchmark: str, path: Path) -> str:
    """What models are asked; ChartMimic's has {width} and {height} in inches. Raises ConfigError."""
    return _read(benchmark, path, PROMPTS, "--prompts")[1]


def filled(text: str, width: int, height: int, published: bool) -> str:
    """A prompt with the size of the picture: pixels, or inches in a published one."""
    sides = [f"{side / DPI:g}" if published else str(side) for side in (width, height)]
    return text.replace("{width}", sides[0]).replace("{height}", sides[1])


def _read(benchmark: str, path: Path, places: dict[str, str], option: str) -> tuple[str, str]:
    """(system, text)"""
    if path.is_dir():
        if benchmark not in places:
            raise ConfigError(f"{option} {path}: {benchmark} published none; name a text file")
        path = path / places[benchmark]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{option} {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if path.suffix == ".json":
        return _of_json(path, text, option)
    if path.suffix == ".py":
        return _of_source(path, text, option)
    if not text.strip():
        raise ConfigError(f"{option} {path}: empty")
    return "", text.strip()


def _of_json(path: Path, text: str, option: str) -> tuple[str, str]:
    try:
        found = json.loads(text)
        system, instruction = found.get("system_msg") or "", found["instruction"]
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise ConfigError(f'{option} {path}: not an object with "instruction"') from None
    return system, instruction


def _of_source(path: Path, text: str, option: str) -> tuple[str, str]:
    """Of a Python file: the value of `direct_prompt`, or the longest text of its messages; nothing is run."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ConfigError(f"{option} {path}: not Python") from None
    for node in ast.walk(tree):
        names = [t.id for t in node.targets if isinstance(t, ast.Name)] if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and "direct_prompt" in names:
            ordered = sorted(
                (n for n in ast.walk(node.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)),
                key=lambda n: (n.lineno, n.col_offset),
            )
            return "", "".join(str(n.value) for n in ordered)
    messages = [
        value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for name, value in zip(node.keys, node.values, strict=True)
        if isinstance(name, ast.Constant) and name.value == "text"
        and isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]  # fmt: skip
    if not messages:
        raise ConfigError(f"{option} {path}: no message in it")
    longest = max(messages, key=len)
    systems = [m for m in messages if m != longest and "helpful" in m]
    return (systems[0] if systems else ""), longest
