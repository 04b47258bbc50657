"""A run's folder, read from outside: groups, ledger, advantages and figures, followed while they are written.

Guarantees: reads only, and only ordinary files inside the folder (a link that leads out of it is not followed); what it
holds in memory is an index, the lines stay on disk; a line that is cut short, damaged or of another shape is skipped,
never an error; a group that a resumed run plays again replaces the one before.
"""

import contextlib
import io
import json
import math
import os
import re
import stat
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from actors.replay.ledger import may_become

PICTURE = re.compile(r"[0-9a-f]{20}\.png")
DIGITS = 15  # of a whole number that a browser keeps as it is
PIECE = 2**26  # bytes that are read at a time, and the longest line
SORTS = ("newest", "oldest", "best", "worst", "spread")


def ordinary(path: Path) -> io.FileIO:
    """A file, opened for reading; of a pipe or a device nothing is read. Raises OSError."""
    file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no ordinary file")
    return file


class Follower:
    """The complete lines of a file that are new since the last call; all of them where the file was replaced."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self.path = root, path
        self._inode, self.offset = 0, 0

    def lines(self) -> tuple[bool, list[tuple[int, bytes]]]:
        """(whether the file began anew, [(offset, line), ...]). What has no line end within PIECE bytes is none."""
        found: list[tuple[int, bytes]] = []
        anew = False
        with contextlib.suppress(OSError, RuntimeError):  # of a circle of links, before Python 3.13
            if not self.path.resolve(strict=True).is_relative_to(self._root):
                return False, []
            with ordinary(self.path) as file:
                about = os.fstat(file.fileno())
                anew = self._inode not in (0, about.st_ino) or about.st_size < self.offset
                self._inode, self.offset = about.st_ino, 0 if anew else self.offset
                while self.offset < about.st_size:
                    # there are no lines in holes, which may be larger than any disk
                    self.offset = os.lseek(file.fileno(), self.offset, os.SEEK_DATA)
                    piece = file.read(PIECE)
                    whole = piece[: piece.rfind(b"\n") + 1]
                    for line in whole.splitlines(keepends=True):
                        found.append((self.offset, line))
                        self.offset += len(line)
                    if len(piece) < PIECE:
                        break
                    self.offset += 0 if whole else PIECE
        return anew, found


@dataclass(frozen=True, slots=True)
class Row:
    """What a filter looks at in one group. `offset` -1: it has no line (being played, or lost with its actor)."""

    group: int
    prompt: int
    state: str
    reason: str = ""
    step: int = -1  # from 1: that consumed it, or was next when it was dispatched
    began: float = 0.0
    low: float | None = None  # rewards of its members
    high: float | None = None
    failures: frozenset[str] = frozenset()
    file: int = 0
    offset: int = -1
    length: int = 0


@dataclass(frozen=True)
class Query:
    """Which groups; a bound that is None does not bind. A group is found where one member's reward is in the range;
    groups that are being played have nothing to show and are found only where they are asked for."""

    step_from: int | None = None
    step_to: int | None = None
    reward_from: float | None = None
    reward_to: float | None = None
    failure: str = ""
    state: str = ""
    sort: str = "newest"

    def fits(self, row: Row) -> bool:
        if row.state != self.state and (self.state or row.state == "running"):
            return False
        if self.failure and self.failure not in row.failures:
            return False
        if self.step_from is not None and row.step < self.step_from:
            return False
        if self.step_to is not None and row.step > self.step_to:
            return False
        if self.reward_from is not None and (row.high is None or row.high < self.reward_from):
            return False
        return self.reward_to is None or (row.low is not None and row.low <= self.reward_to)


class RunFolder:
    """The index of one run. Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock = threading.Lock()
        self._files: list[Follower] = []
        self._journal = Follower(self.path, self.path / "queue.jsonl")
        self._archive = Follower(self.path, self.path / "ledger.jsonl")
        self._gains = Follower(self.path, self.path / "advantages.jsonl")
        self._figures = Follower(self.path, self.path / "metrics.jsonl")
        self._placement = Follower(self.path, self.path / "nodes.jsonl")
        self._nodes: list[dict[str, Any]] = []
        self._played: dict[int, Row] = {}
        self._entries: dict[int, dict[str, Any]] = {}
        self._advantages: dict[int, tuple[int, list[Any]]] = {}
        self._metrics: list[dict[str, Any]] = []
        self._rows: list[Row] = []
        self.revision = 0  # changes when anything was read

    def refresh(self) -> None:
        """Read what was written since the last call."""
        with self._lock:
            changed = self._read_groups()  # before the ledger: a line is written after the ledger knows the group's end
            changed |= self._read_ledger()
            for row in rows(self._gains.lines()[1]):
                for group, values in _items(row.get("groups")):
                    if isinstance(values, list) and re.fullmatch("[0-9]{1,15}", group):
                        self._advantages[int(group)] = (_int(row.get("step")), values)
                changed = True
            anew, lines = self._figures.lines()
            if anew:
                self._metrics = []
            for row in rows(lines):
                self._metrics.append(row)
                changed = True
            anew, lines = self._placement.lines()
            if anew or lines:
                self._nodes = [row for row in rows(lines) if isinstance(row.get("node"), str)]
                changed = True
            if changed:
                self._rows = list(self._join())
                self.revision += 1

    def find(self, query: Query) -> list[Row]:
        """Every group that fits, in the query's order."""
        with self._lock:
            rows = [row for row in self._rows if query.fits(row)]
        if query.sort == "oldest":
            return rows
        if query.sort == "best":
            return sorted(rows, key=lambda r: -(r.high if r.high is not None else -1e9))
        if query.sort == "worst":
            return sorted(rows, key=lambda r: r.low if r.low is not None else 1e9)
        if query.sort == "spread":
            return sorted(rows, key=lambda r: (r.low or 0.0) - (r.high or 0.0))
        return rows[::-1]

    def nodes(self) -> list[dict[str, Any]]:
        """`node` and `parts` of it (name -> count), one for each node that holds any; empty where it is not known."""
        with self._lock:
            return [
                {"node": row["node"], "parts": {k: n for k, n in _items(row.get("parts")) if isinstance(n, int)}}
                for row in self._nodes
            ]

    def facets(self) -> dict[str, dict[str, int]]:
        """How many groups have each state, and each kind of failure in one of their members."""
        with self._lock:
            return {
                "states": dict(Counter(row.state for row in self._rows).most_common()),
                "failures": dict(Counter(f for row in self._rows for f in row.failures).most_common()),
            }

    def read(self, row: Row) -> dict[str, Any]:
        """A group in full: its line, its entry in the ledger, and each member's advantage where it was trained on."""
        line: dict[str, Any] = {}
        if row.offset >= 0:
            with contextlib.suppress(OSError), ordinary(self._files[row.file].path) as file:
                file.seek(row.offset)
                line = next(iter(rows([(0, file.read(row.length))])), {})
        entry = self._entries.get(row.group, {})
        members = [m for m in _list(line.get("members")) if isinstance(m, dict)]
        step, advantages = self._advantages.get(row.group, (-1, []))
        if row.state == "consumed" and step == row.step:
            done = [m for m in members if m.get("outcome") == "done"]
            for member, gain in zip(done, advantages, strict=False):
                member["advantage"] = gain
        ledger = {key: entry.get(key) for key in ("worker", "dispatched_at", "oldest", "newest", "reissue", "tokens")}
        own = {"group": row.group, "prompt": row.prompt, "state": row.state, "reason": row.reason, "step": row.step}
        return {**line, **own, "members": members, "ledger": ledger}

    def metrics(self) -> list[dict[str, Any]]:
        """One row a step."""
        with self._lock:
            return list(self._metrics)

    def entries(self) -> dict[int, dict[str, Any]]:
        """The ledger's entries by group."""
        with self._lock:
            return dict(self._entries)

    def groups(self) -> Iterator[dict[str, Any]]:
        """Every recorded group in full, oldest first."""
        for row in self.find(Query(sort="oldest")):
            if row.offset >= 0:
                yield self.read(row)

    def picture(self, name: str) -> Path | None:
        """A picture of this run, or None; the name is from outside."""
        if not PICTURE.fullmatch(name):
            return None
        try:
            path = (self.path / "pictures" / name).resolve()
        except RuntimeError:  # a circle of links
            return None
        return path if path.is_relative_to(self.path) and path.is_file() else None

    def _read_groups(self) -> bool:
        known = {follower.path for follower in self._files}
        for path in sorted((self.path / "trajectories").glob("*.jsonl")):
            if path not in known:
                self._files.append(Follower(self.path, path))
        changed = False
        for number, follower in enumerate(self._files):
            for offset, line in follower.lines()[1]:
                for raw in rows([(offset, line)]):
                    row = _indexed(raw)
                    if row is not None:
                        self._played[row.group] = replace(row, file=number, offset=offset, length=len(line))
                        changed = True
        return changed

    def _read_ledger(self) -> bool:
        """The queue's journal says how groups stand now, the archive how those stood that the journal left out."""
        lines = self._journal.lines()[1]
        for row in rows(lines):
            if "archive" in row:
                self._begin(_int(row["archive"]), _int(row.get("issued")))
            self._entries |= {entry["group"]: entry for entry in map(_entry, _list(row.get("entries"))) if entry}
        settled = self._archive.lines()[1]
        for entry in filter(None, map(_entry, rows(settled))):
            known = self._entries.get(entry["group"])
            if known is None or may_become(known["state"], entry["state"]):
                self._entries[entry["group"]] = entry
        return bool(lines or settled)

    def _begin(self, archive: int, issued: int) -> None:
        """The journal begins anew. After a resume the archive is shorter, and groups issued later were never there."""
        if self._archive.offset > archive:
            self._archive = Follower(self.path, self._archive.path)
            self._entries = {}
        self._entries = {number: entry for number, entry in self._entries.items() if number < issued}

    def _join(self) -> Iterator[Row]:
        """Ledger entries and lines by group; a line that the ledger contradicts is from before a resume."""
        if not self._entries:
            yield from (self._played[group] for group in sorted(self._played))
            return
        for group in sorted(self._entries):
            entry = self._entries[group]
            state, prompt = str(entry.get("state")), _int(entry.get("prompt"))
            step = _int(entry.get("step")) if state == "consumed" else _int(entry.get("dispatched_at"))
            fields = {"state": state, "reason": str(entry.get("reason") or ""), "step": step + 1}
            played = self._played.get(group)
            if played is not None and played.prompt == prompt and state != "running":
                yield replace(played, **fields)  # type: ignore[arg-type]
            else:
                yield Row(group, prompt, **fields)  # type: ignore[arg-type]


def _entry(raw: Any) -> dict[str, Any] | None:
    """An entry of the ledger, or None where it is none."""
    sound = isinstance(raw, dict) and isinstance(raw.get("group"), int) and isinstance(raw.get("state"), str)
    return raw if sound else None


def _indexed(raw: Mapping[str, Any]) -> Row | None:
    """The row of a recorded line, or None where it is not one."""
    try:
        rewards, failures = [], set()
        for member in raw["members"]:
            if member["outcome"] != "done":
                failures.add(f"void: {member['outcome']}")
                continue
            rewards.append(_number(member["reward"]["total"]))
            if member["ending"] in ("malformed", "length"):
                failures.add(str(member["ending"]))
            failures.update(str(turn["failure"]) for turn in member["turns"] if turn["failure"])
        return Row(
            int(raw["group"]),
            int(raw["prompt"]),
            str(raw["state"]),
            began=_number(raw["began"]),
            low=min(rewards, default=None),
            high=max(rewards, default=None),
            failures=frozenset(failures),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def rows(lines: list[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
    for _, line in lines:
        try:
            row = json.loads(line, parse_constant=lambda _: None, parse_float=_real, parse_int=_whole)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            yield row


def _real(text: str) -> float | None:
    """A number that is one in a browser as well; NaN and 1e999 are none."""
    return value if math.isfinite(value := float(text)) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) <= DIGITS else None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("not a number")
    return float(value)


def _items(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _int(value: Any) -> int:
    return value if isinstance(value, int) else -1
