"""Answers that were written before: others' outputs are scored without a model.

Read are a JSONL or JSON file of rows (`id` or `name`, `file`, `question_id`, `index` names the case; `response`,
`answer`, `prediction`, `output`, `text` or `code` is the answer), conversations (`conversations` or `messages`, of
which the last turn of the model counts), an object of name to answer, and a folder of programs or pages by case name:
so the result folders of ChartMimic (`*_results.json`, `direct_checker/*.py`), Plot2Code (`generated_code.jsonl`) and
Design2Code (`predictions/*.html`). Guarantees: what cannot be read is one line with file and place; a case without a
row is left open, never scored.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from configs.load import ConfigError

NAMES = ("id", "name", "case", "file", "orginial", "original", "question_id", "image", "ground_truth_path", "index")
TEXTS = ("response", "answer", "prediction", "output", "text", "completion", "generated", "code", "html")
TURNS = ("conversations", "messages")
SUFFIXES = (".py", ".html", ".htm", ".txt", ".md")


class SavedAnswers:
    """The answers of one file or folder, found by the names of cases."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError."""
        self.name = path.stem
        self._path = path
        self._texts = dict(_folder(path) if path.is_dir() else _file(path))
        if not self._texts:
            raise ConfigError(f"--answers {path}: no answer in it")

    def of(self, case: str) -> str:
        """Raises LookupError, which leaves the case open."""
        keys = (case, key(case))
        for wanted in keys:
            if wanted in self._texts:
                return self._texts[wanted]
        raise LookupError(f"no answer in {self._path}")

    def expect(self, cases: Sequence[str]) -> None:
        """Raises ConfigError where no case has an answer: then the names are others."""
        if not any(case in self._texts or key(case) in self._texts for case in cases):
            theirs = ", ".join(list(self._texts)[:3])
            raise ConfigError(f"--answers {self._path}: names {theirs}..., the cases are {', '.join(cases[:3])}...")


def key(name: str) -> str:
    """A case's name without folder, ending, and what sets number pictures by."""
    stem = re.sub(r"\.(py|pdf|png|jpe?g|html?|txt|md)$", "", str(name).replace("\\", "/").rsplit("/", 1)[-1])
    return re.sub(r"^(ground_truth_image|test_image)_", "", stem)


def _folder(path: Path) -> Iterator[tuple[str, str]]:
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if files:
        for file in files:
            text = file.read_text(encoding="utf-8-sig", errors="replace")
            language = {".py": "python", ".html": "html", ".htm": "html"}.get(file.suffix)
            yield key(file.name), f"```{language}\n{text}\n```" if language else text
        return
    tables = sorted(p for p in path.iterdir() if p.suffix in (".jsonl", ".json"))
    if len(tables) != 1:
        raise ConfigError(f"--answers {path}: name one of its files: {', '.join(p.name for p in tables) or 'none'}")
    yield from _file(tables[0])


def _file(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"--answers {path}: not there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--answers {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    for number, (name, row) in enumerate(rows(path, text), 1):
        if not isinstance(row, dict):
            row = {"response": row}
        name = name or next((str(row[k]) for k in NAMES if isinstance(row.get(k), str | int)), "")
        answer = answer_of(row)
        if not name or answer is None:
            lacks = "a name of its case (id)" if not name else "an answer (response)"
            raise ConfigError(
                f"--answers {path}:{number}: without {lacks}; it has {', '.join(map(str, row)) or 'nothing'}"
            )
        yield key(name), answer


def rows(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    """(name or nothing, row) of JSON lines, an array, or an object of name to answer. Raises ConfigError."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, list):
        yield from (("", row) for row in whole)
    elif isinstance(whole, dict) and not any(k in whole for k in (*NAMES, *TEXTS, *TURNS)):
        yield from whole.items()
    elif isinstance(whole, dict):
        yield "", whole
    else:
        for number, line in enumerate(text.split("\n"), 1):  # a JSON text may hold other line ends
            if line.strip():
                try:
                    yield "", json.loads(line)
                except (ValueError, RecursionError):
                    raise ConfigError(f"--answers {path}:{number}: not JSON") from None


def answer_of(row: dict[str, Any]) -> str | None:
    """The model's text in a row, also within a chat completion or a conversation; None where there is none."""
    for turns in TURNS:
        if isinstance(row.get(turns), list):
            spoken = [t for t in row[turns] if isinstance(t, dict)]
            own = [t for t in spoken if t.get("from", t.get("role")) in ("gpt", "assistant", "model")]
            texts = [t.get("value", t.get("content")) for t in own]
            return next((text for text in reversed(texts) if isinstance(text, str)), None)
    for column in TEXTS:
        value = row.get(column)
        if isinstance(value, str) and value.lstrip().startswith("{") and '"choices"' in value:
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
        if isinstance(value, dict):
            try:
                value = value["choices"][0]["message"]["content"]
            except (LookupError, TypeError):
                continue
        if isinstance(value, str):
            return f"```python\n{value}\n```" if column == "code" and "```" not in value else value
        if column in row and value is None:
            return ""
    return None
